// Shrinks web/site.css into the folder that the program embeds. npm runs this at the end of `npm install`.
import { readFileSync, writeFileSync } from "node:fs";

const source = readFileSync("web/site.css", "utf8");
const small = source
  .replace(/\/\*[\s\S]*?\*\//g, "")
  .replace(/\s+/g, " ")
  .replace(/ ?([{}:;,]) ?/g, "$1")
  .trim();
writeFileSync("cmd/site/static/site.css", small + "\n");
console.log(`site.css: ${source.length} bytes become ${small.length}`);
