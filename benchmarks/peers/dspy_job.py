"""The benchmark's job by dspy, by its own interpreter: Evaluate over a module that asks its LM, with its cache.

A `Predict` would also build and read its own prompt format, which an echo model cannot answer in.
"""

import json
import os
import sys

url, job, folder, concurrency = sys.argv[1:]
os.environ.update(DSPY_CACHEDIR=f"{folder}/cache", LITELLM_LOCAL_MODEL_COST_MAP="True", HOME=folder)

import dspy  # noqa: E402 - the environment is read at the import

lm = dspy.LM("openai/echo", api_base=url, api_key="none", temperature=0, max_tokens=20, num_retries=3)


class Ask(dspy.Module):
    def forward(self, prompt: str) -> dspy.Prediction:
        (answer,) = lm(messages=[{"role": "user", "content": prompt}])
        return dspy.Prediction(answer=answer if isinstance(answer, str) else answer["text"])


def right(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:  # noqa: ARG001
    return prediction.answer.strip() == example.target


examples = [
    dspy.Example(prompt=row["prompt"], target=row["target"]).with_inputs("prompt")
    for row in map(json.loads, open(job))  # noqa: SIM115, PTH123
]
dspy.configure(lm=lm)
evaluate = dspy.Evaluate(
    devset=examples,
    metric=right,
    num_threads=int(concurrency),
    display_progress=False,
    max_errors=len(examples),
    failure_score=0.0,
)
result = evaluate(Ask())
print(json.dumps({"correct": round(result.score / 100 * len(examples))}))
