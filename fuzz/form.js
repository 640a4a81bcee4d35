// Reads lines of JSON texts: first config.js, then configs. Says what validateConfig says of each.
"use strict";
let page = null;

function judge(config) {
  try {
    const value = JSON.parse(config);
    const { valid, message } = page.validateConfig(value);
    return { sent: JSON.stringify(value), valid, message };
  } catch (error) {
    return { broken: `${error.name}: ${error.message}` };
  }
}

require("node:readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const text = JSON.parse(line);
    if (page) process.stdout.write(`${JSON.stringify(judge(text))}\n`);
    else page = (0, eval)(text);
  });
