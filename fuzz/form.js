// Answers, for each line of JSON (a list of values as texts), what validateConfig says of each.
"use strict";
const [, , script] = process.argv;
const page = (0, eval)(require("node:fs").readFileSync(script, "utf-8"));
require("node:readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    let said;
    try {
      const value = JSON.parse(JSON.parse(line));
      const { valid, message } = page.validateConfig(value);
      said = { sent: JSON.stringify(value), valid, message };
    } catch (error) {
      said = { broken: `${error.name}: ${error.message}` };
    }
    process.stdout.write(`${JSON.stringify(said)}\n`);
  });
