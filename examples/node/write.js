// Writes a blurb about a product, and shows it word by word as it is made.
import { budgetIn, connect, namesOf, options } from "./mesh.js";

const given = options({ prompt: "name: mug | material: stoneware | colour: blue", timeoutMs: 10_000 });
const { llm } = connect(given.target);

const request = { prompt: given.prompt, max_tokens: 60 };
const text = llm.Generate(request, { deadline: Date.now() + Number(given.timeoutMs) });
process.once("SIGINT", () => text.cancel()); // and the mesh writes no further

text.on("status", ({ code, metadata }) => {
  const budget = budgetIn(metadata);
  if (code === 0 && budget) {
    console.log(`\nfirst words after ${budget.first_us / 1000} ms, all ${budget.chunks} chunks after ${budget.total_us / 1000} ms`);
  }
});
try {
  for await (const chunk of text) { // one that waits here holds the mesh up: nothing piles up
    process.stdout.write(chunk.text);
    if (chunk.finish === "FINISH_LENGTH" || chunk.finish === "FINISH_DEADLINE") process.stdout.write(` … (${chunk.finish})`);
  }
} catch (error) {
  const { code, reason } = namesOf(error);
  console.log(`\n${code} ${reason ?? ""} ${error.details}`);
  process.exitCode = 1;
}
