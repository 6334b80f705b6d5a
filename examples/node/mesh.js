// What every caller needs: clients of the services, a deadline, and what the mesh says besides an answer.
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTOS = fileURLToPath(new URL("../../protos", import.meta.url));
const FILES = ["budget", "recsys", "vision", "llm"].map((name) => `isochrone/v1/${name}.proto`);
const OPTIONS = { keepCase: true, longs: Number, enums: String, defaults: true };

const definitions = protoLoader.loadSync(FILES, { ...OPTIONS, includeDirs: [PROTOS] });
const { Recsys, Vision, Llm } = grpc.loadPackageDefinition(definitions).isochrone.v1;

// google.rpc, as far as the mesh's errors need it.
const field = (type, id, rule) => ({ type, id, ...(rule && { rule }) });
const errors = protoLoader.fromJSON({
  nested: {
    Any: { fields: { type_url: field("string", 1), value: field("bytes", 2) } },
    Status: { fields: { code: field("int32", 1), message: field("string", 2), details: field("Any", 3, "repeated") } },
    ErrorInfo: { fields: { reason: field("string", 1), domain: field("string", 2) } },
  },
}, OPTIONS);

// Clients of a router, which keeps one connection for all of them.
export function connect(target) {
  const credentials = grpc.credentials.createInsecure();
  return {
    recsys: new Recsys(target, credentials),
    vision: new Vision(target, credentials),
    llm: new Llm(target, credentials),
  };
}

// A unary call that is over by its deadline: { answer, budget }. Rejects with a gRPC error that has a budget as well.
export function call(client, method, request, { timeoutMs, metadata = new grpc.Metadata() }) {
  return new Promise((resolve, reject) => {
    let answer;
    const unary = client[method](request, metadata, { deadline: Date.now() + timeoutMs }, (error, value) => {
      answer = value;
      if (error) reject(Object.assign(error, { budget: budgetIn(error.metadata) }));
    });
    unary.on("status", (status) => {
      if (status.code === grpc.status.OK) resolve({ answer, budget: budgetIn(status.metadata) });
    });
  });
}

// Where an answer's time went: the BudgetReport in its trailing metadata.
export function budgetIn(metadata) {
  const [bytes] = metadata.get("isochrone-budget-bin");
  return bytes && definitions["isochrone.v1.BudgetReport"].deserialize(bytes);
}

// "DEADLINE_EXCEEDED", and the mesh's own word for it where it was the mesh that refused.
export function namesOf(error) {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const details = bytes ? errors.Status.deserialize(bytes).details : [];
  const info = details.find((detail) => detail.type_url.endsWith("/google.rpc.ErrorInfo"));
  return { code: grpc.status[error.code], reason: info && errors.ErrorInfo.deserialize(info.value).reason };
}

// "--target" and other options of an example, each with what it is where it isn't given.
export function options(defaults) {
  const given = { target: "127.0.0.1:50051", ...defaults };
  for (let at = 2; at < process.argv.length; at += 2) {
    const name = process.argv[at].slice(2);
    if (!(name in given) || process.argv[at + 1] === undefined) {
      throw new Error(`there are ${Object.keys(given).map((option) => `--${option} VALUE`).join(", ")}`);
    }
    given[name] = process.argv[at + 1];
  }
  return given;
}
