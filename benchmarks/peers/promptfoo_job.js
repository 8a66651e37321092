// Writes promptfoo's configuration for the benchmark's job: node promptfoo_job.js URL JOB FOLDER
const fs = require("fs");
const [url, job, folder] = process.argv.slice(2);
const rows = fs.readFileSync(job, "utf8").trim().split("\n").map((line) => JSON.parse(line));
fs.writeFileSync(
  `${folder}/promptfooconfig.json`,
  JSON.stringify({
    description: "job",
    prompts: ["{{prompt}}"],
    providers: [
      { id: "openai:chat:echo", config: { apiBaseUrl: url, apiKey: "none", temperature: 0, max_tokens: 20 } },
    ],
    tests: rows.map((row) => ({
      vars: { prompt: row.prompt },
      assert: [{ type: "equals", value: row.target }],
    })),
  }),
);
