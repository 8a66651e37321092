"""Safety catches for few-shot prompting and fine-tuning."""
