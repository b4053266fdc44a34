// Holds the template against the schema of CloudFormation's resources, and reads
// it with the CDK's include module, which checks values too.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAwsServiceSpecSync } from "@aws-cdk/aws-service-spec";
import { parseDocument } from "yaml";

const [file, how] = process.argv.slice(2); // "schema" as the second leaves out the CDK, which takes the time
const problems = [];
const functions = ["Ref", "Sub", "GetAtt", "If", "Not", "And", "Or", "Equals", "Condition", "Select", "Split", "FindInMap", "Base64", "Join"];
const customTags = functions.flatMap((name) => {
  const key = name === "Ref" || name === "Condition" ? name : `Fn::${name}`;
  const long = (node) => ({ [key]: node.toJSON ? node.toJSON() : node });
  return [
    { tag: `!${name}`, resolve: (text) => ({ [key]: text }) },
    { tag: `!${name}`, collection: "seq", resolve: long },
    { tag: `!${name}`, collection: "map", resolve: long },
  ];
});
const document = parseDocument(readFileSync(file, "utf8"), { customTags, logLevel: "error" });
for (const e of [...document.errors, ...document.warnings]) problems.push(`${file}: ${e.message}`);
const template = document.toJSON();

const db = loadAwsServiceSpecSync();
const isFunction = (v) => v && typeof v === "object" && !Array.isArray(v) && Object.keys(v).length === 1 && /^(Ref|Fn::\w+)$/.test(Object.keys(v)[0]);

// check a value against a type of the schema.
function check(where, value, type) {
  if (isFunction(value)) {
    if ("Fn::If" in value) {
      for (const branch of value["Fn::If"].slice(1)) check(where, branch, type);
    }
    return;
  }
  switch (type.type) {
    case "ref":
      return fields(where, value, db.get("typeDefinition", type.reference.$ref).properties);
    case "array":
      if (!Array.isArray(value)) return problems.push(`${where}: a list is wanted`);
      return value.forEach((v, i) => check(`${where}[${i}]`, v, type.element));
    case "map":
      return Object.entries(value).forEach(([k, v]) => check(`${where}.${k}`, v, type.element));
    case "union": {
      const before = problems.length;
      let least = null;
      for (const t of type.types) {
        check(where, value, t);
        const found = problems.splice(before);
        if (found.length === 0) return;
        least = found;
      }
      return problems.push(...least);
    }
    case "string":
      if (typeof value !== "string" && typeof value !== "number") return problems.push(`${where}: a text is wanted, not ${JSON.stringify(value)}`);
      if (type.allowedValues && !type.allowedValues.includes(value)) return problems.push(`${where}: ${value} is none of ${type.allowedValues}`);
      return;
    case "number":
    case "integer":
      if (Number.isNaN(Number(value))) problems.push(`${where}: a number is wanted, not ${JSON.stringify(value)}`);
      return;
    case "boolean":
      if (typeof value !== "boolean") problems.push(`${where}: true or false is wanted, not ${JSON.stringify(value)}`);
  }
}

function fields(where, value, properties) {
  if (value === null || typeof value !== "object") return problems.push(`${where}: an object is wanted, not ${JSON.stringify(value)}`);
  for (const [name, v] of Object.entries(value)) {
    if (!properties[name]) problems.push(`${where}.${name}: there is no such property`);
    else check(`${where}.${name}`, v, properties[name].type);
  }
  for (const [name, p] of Object.entries(properties)) {
    if (p.required && !(name in value)) problems.push(`${where}.${name} is required`);
  }
}

let resources = 0;
for (const [id, r] of Object.entries(template.Resources)) {
  const found = db.lookup("resource", "cloudFormationType", "equals", r.Type);
  if (found.length === 0) problems.push(`${id}: there is no ${r.Type}`);
  else fields(id, r.Properties, found.only().properties);
  resources++;
}

async function cdk() {
  const { App, Stack } = await import("aws-cdk-lib");
  const { CfnInclude } = await import("aws-cdk-lib/cloudformation-include");
  const excused = {
    W1030: "KmsKeyArn is empty by default, and used only where it is not (HasKey)",
    W2509: "RedshiftSecretArn names a secret and is none",
    W9052: "how far the validation went",
  };
  const outdir = mkdtempSync(join(tmpdir(), "check-infra-"));
  try {
    const app = new App({ outdir });
    new CfnInclude(new Stack(app, "Check"), "Template", { templateFile: file });
    const out = app.synth().getStackByName("Check").template;
    const lost = Object.keys(template.Resources).filter((id) => !out.Resources[id]);
    if (lost.length > 0) problems.push(`the CDK does not keep ${lost}`);
    // The CDK validates what it made by rules of its own and only warns.
    const report = JSON.parse(readFileSync(join(outdir, "validation-report.json"), "utf8"));
    for (const v of report.pluginReports.flatMap((r) => r.violations)) {
      if (!excused[v.ruleName]) problems.push(`the CDK's validation: ${v.ruleName}: ${v.description}`);
    }
  } catch (e) {
    problems.push(`the CDK's include module: ${e.message}`);
  } finally {
    rmSync(outdir, { recursive: true, force: true });
  }
}

if (how !== "schema") await cdk();
for (const p of problems) console.error(p);
console.log(`template: ${resources} resources, ${problems.length} problems`);
process.exitCode = problems.length > 0 || resources < 20 ? 1 : 0;
