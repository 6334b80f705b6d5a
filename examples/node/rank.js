// Ranks candidates for a visitor, names what is on a photo, and does without rather than be late.
import { readFileSync } from "node:fs";
import { call, connect, namesOf, options } from "./mesh.js";

const at = (name) => new URL(`../${name}`, import.meta.url);
const given = options({ request: at("rank.json"), photo: at("mug.jpg"), timeoutMs: 100 });
const { recsys, vision } = connect(given.target);
const timeoutMs = Number(given.timeoutMs);

const visit = JSON.parse(readFileSync(given.request));

function told(budget) {
  const inTime = budget.missed ? "missed" : "in time";
  return `${budget.total_us / 1000} of ${budget.objective_us / 1000} ms, ${inTime}, ${budget.lane} on ${budget.node}`;
}

async function attempt(what, asked, show) {
  try {
    const { answer, budget } = await asked;
    console.log(what, show(answer), `(${told(budget)})`);
  } catch (error) {
    const { code, reason } = namesOf(error);
    console.log(what, "none:", code, reason ?? "", error.details, error.budget ? `(${told(error.budget)})` : "");
    if (code === "INVALID_ARGUMENT") process.exitCode = 1; // ours to mend: it will not get better by itself
  }
}

await Promise.all([
  attempt("ranking", call(recsys, "Rank", visit, { timeoutMs }), (answer) => answer.item_ids.join(" ")),
  attempt("photo", call(vision, "Classify", { image: readFileSync(given.photo), top_k: 3 }, { timeoutMs: 5 * timeoutMs }),
    (answer) => answer.labels.join(", ")),
]);
