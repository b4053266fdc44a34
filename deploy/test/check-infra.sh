#!/usr/bin/env bash
# The template, the policies and the Terraform module, as tools of others see them.
# Nothing here calls AWS.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-infra: CloudFormation, IAM, Terraform"

template=$repo/deploy/cloudformation/analytics-worker.yaml
policies=("$repo"/deploy/iam/*.json)
GO=${GO:-go}

# From npm: the CDK with its include module, CloudFormation's schema, AWS's list of
# actions, a simulator of IAM. Kept between runs.
tools=$repo/.tools/infra
if command -v npm >/dev/null; then
	if ! cmp -s "$here/infra/package-lock.json" "$tools/ready"; then
		rm -rf "$tools"
		mkdir -p "$tools"
		cp "$here/infra/package.json" "$here/infra/package-lock.json" "$tools/"
		(cd "$tools" && timeout 300 npm ci --no-audit --no-fund --ignore-scripts --loglevel=error)
		cp "$here/infra/package-lock.json" "$tools/ready"
	fi
	cp "$here"/infra/*.mjs "$tools/"
	template_fits() { (cd "$tools" && NODE_NO_WARNINGS=1 timeout 300 node template.mjs "$@"); }
	policies_fit() { (cd "$tools" && timeout 100 node policies.mjs "$@"); }
	expect "CloudFormation's schema and the CDK take the template" template_fits "$template"
	expect "AWS's list of actions and an IAM simulator take the policies" policies_fit "${policies[@]}"
	sed 's/HttpPutResponseHopLimit/HttpPutResponseHops/; s/StreamMode: PROVISIONED/StreamMode: PROVISION/' "$template" >"$work/wrong.yaml"
	template_fits "$work/wrong.yaml" schema >"$work/wrong" 2>&1 || true
	if grep -q 'HttpPutResponseHops: there is no such' "$work/wrong" && grep -q 'PROVISION is none of' "$work/wrong"; then
		ok "a wrong property and a wrong value are found"
	else
		bad "a wrong property or value is not found"
	fi
	mkdir "$work/wrong-iam"
	for change in 's/kinesis:GetRecords/kinesis:ReadRecords/' 's/:table\//:tables\//' 's/cloudwatch:namespace/cloudwatch:name/' 's/"StringEquals"/"StringSame"/'; do
		sed "$change" "$repo/deploy/iam/worker-policy.json" >"$work/wrong-iam/worker-policy.json"
		if policies_fit "$work/wrong-iam/worker-policy.json" >/dev/null 2>&1; then bad "a policy with $change passes"; else ok "a policy with $change does not pass"; fi
	done
else
	bad "npm is needed: install Node.js 20 or later (apt-get install nodejs npm)"
fi

if command -v cfn-lint >/dev/null; then
	expect "cfn-lint has nothing to say of the template" cfn-lint --non-zero-exit-code informational --template "$template"
else
	echo "  left out: cfn-lint is not here"
fi

agree() { (cd "$repo/deploy/check/hcl" && CGO_ENABLED=0 "$GO" test -count=1 .); }
expect "HashiCorp's parser takes the Terraform module, and it agrees with the template" agree

# The provider's schema. It comes from Terraform's registry, or from a folder of this machine.
if command -v terraform >/dev/null; then
	mkdir "$work/terraform"
	cp "$repo"/deploy/terraform/*.tf "$repo"/deploy/terraform/*.tftpl "$work/terraform/"
	plugins=''
	for provider in "${TF_PLUGIN_DIR:-}"/registry.terraform.io/hashicorp/aws "$HOME"/.terraform.d/plugins/registry.terraform.io/hashicorp/aws /opt/*/registry.terraform.io/hashicorp/aws; do
		[[ ! -d $provider ]] || { plugins=${provider%/registry.terraform.io/*}; break; }
	done
	export TF_CLI_CONFIG_FILE=$work/terraformrc
	: >"$TF_CLI_CONFIG_FILE"
	[[ -z $plugins ]] || printf 'provider_installation {\n  filesystem_mirror {\n    path = "%s"\n  }\n}\n' "$plugins" >"$TF_CLI_CONFIG_FILE"
	expect "terraform fmt has nothing to change" terraform fmt -check -diff "$work/terraform"
	if timeout 60 terraform -chdir="$work/terraform" init -backend=false -input=false >"$work/init" 2>&1; then
		expect "terraform validate takes the module" terraform -chdir="$work/terraform" validate -no-color
		sed -i 's/http_put_response_hop_limit/http_put_response_hops/' "$work/terraform/group.tf"
		if terraform -chdir="$work/terraform" validate >/dev/null 2>&1; then bad "a wrong argument passes"; else ok "a wrong argument does not pass"; fi
	else
		echo "  left out: terraform validate, as the AWS provider is not to be had"
	fi
else
	echo "  left out: terraform is not here"
fi
finish
