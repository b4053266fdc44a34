#!/usr/bin/env bash
# The three documented ways, on a machine that looks like Amazon Linux 2023: its
# os-release, no apt, and a dnf and an aws that do here what the real ones would do.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
echo "check-amazon: user data, ssh and Systems Manager, as on Amazon Linux"

mapfile -t shared < <(cd "$repo" && "${GO:-go}" env GOROOT GOMODCACHE GOCACHE)
shared[0]+=:/mnt/go # not where the script looks for one
start_machine
local_aws

printf 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\n' >"$root/etc/os-release"
inside bash -c 'rm -f /usr/bin/apt* /usr/bin/dpkg*; useradd --create-home ec2-user; printf "%s\n" "ec2-user ALL=(ALL) NOPASSWD:ALL" "Defaults secure_path=/sbin:/bin:/usr/sbin:/usr/bin" >/etc/sudoers.d/ec2-user'
cat >"$root/usr/bin/dnf" <<DNF
#!/bin/bash
echo "\$*" >>/root/dnf.log
case \${*: -1} in
golang)
	# Older than go.mod wants, as Amazon's is for months, and told by its go.env to fetch no other.
	cat >/usr/bin/go <<'GO'
#!/bin/sh
if [ "\$1" = build ] && { [ "\${GOTOOLCHAIN:-local}" = local ] || [ "\${GOSUMDB:-off}" = off ] || [ "\${GOPROXY:-direct}" = direct ]; }; then
	echo 'go: go.mod requires a later go (running go1.24.5; GOTOOLCHAIN=local)' >&2
	exit 1
fi
export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOMODCACHE=${shared[1]} GOCACHE=${shared[2]}
exec /mnt/go/bin/go "\$@"
GO
	chmod +x /usr/bin/go
	;;
amazon-cloudwatch-agent)
	mkdir -p /opt/aws/amazon-cloudwatch-agent/bin /opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d
	cat >/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl <<'CTL'
#!/bin/bash
# append-config takes a file under a name of its own, as the real one does.
echo "\$*" >>/root/agent.log
file=\${*: -1}
taken=/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/file_\$(basename "\$file")
if [[ \$* == *append-config* ]]; then cp "\${file#file:}" "\$taken"; else rm -f "\$taken"; fi
CTL
	chmod +x /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl
	;;
*) exit 1 ;;
esac
DNF
cat >"$root/usr/bin/aws" <<'AWS'
#!/bin/bash
case "$1 $2" in
"s3 cp")
	file=/root/s3/${4#s3://}
	[[ -f $file ]] || { echo "fatal error: An error occurred (404) when calling the HeadObject operation: Not Found" >&2; exit 1; }
	cp "$file" "$5"
	;;
"ssm get-parameters-by-path") 
	[[ $* == *"Parameters[].[Name,Value,'.']"*--output\ text* ]] || exit 1
	printf '/cloudcafe/analytics-worker/BATCH_SIZE\t300\t.\n/cloudcafe/analytics-worker/REDSHIFT_DATABASE\tanalytics\t.\n'
	;;
*) exit 1 ;;
esac
AWS
chmod +x "$root/usr/bin/dnf" "$root/usr/bin/aws"
curl -fsS -X PUT -d '{"tags/instance/Name":"analytics-worker","tags/instance/BATCH_SIZE":"1","tags/instance/POLL_INTERVAL":"2"}' "$aws_url/_localaws/imds" >/dev/null

# A repository to clone, with the worker where the documentation has it.
services=$root/srv/cloudcafe/services
mkdir -p "$services/analytics-worker"
(cd "$repo" && git ls-files -co --exclude-standard -z | tar --null -T - -cf - | tar -C "$services/analytics-worker" -xf -)
inside bash -c 'cd /srv/cloudcafe && git init -q && git add -A && git -c user.name=t -c user.email=t@localhost commit -qm first && git tag v2.0.0
	git config --system --add safe.directory /srv/cloudcafe/.git' # the place to clone from is everybody's

commit() { inside bash -c "cd /srv/cloudcafe && git -c user.name=t -c user.email=t@localhost commit -q --allow-empty -m next && git tag $1"; }

# ---- user data: root, no HOME, the settings from wherever they are
environment=()
for s in "${aws_settings[@]}"; do [[ $s == AWS_EC2_METADATA_DISABLED=* ]] || environment+=("$s"); done
cat >"$root/root/user-data" <<'DATA'
#!/bin/bash
cd /home/ec2-user
git clone -q file:///srv/cloudcafe
cd cloudcafe/services/analytics-worker
./deploy-ec2.sh --set AWS_ENDPOINT_URL="$AWS_ENDPOINT_URL" --set AWS_ACCESS_KEY_ID=local --set AWS_SECRET_ACCESS_KEY=local --set AWS_EC2_METADATA_DISABLED=true
DATA
expect "user data: clone, and ./deploy-ec2.sh" inside "${environment[@]}" "AWS_EC2_METADATA_SERVICE_ENDPOINT=$aws_url" HTTP_ADDR= bash /root/user-data
expect "what was cloned was built and runs" runs 2.0.0
expect "Go and the agent came by dnf" diff <(printf 'install -y -q %s\n' golang amazon-cloudwatch-agent) "$root/root/dnf.log"
expect "settings: of the environment, of a parameter before a tag, of a tag" test "$(given AWS_REGION) $(given BATCH_SIZE) $(given POLL_INTERVAL)" == "us-east-1 300 2"
expect "the agent has the log's configuration" inside grep -q '"log_group_name": "/cloudcafe/analytics-worker"' /opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/file_analytics-worker.json

# ---- over ssh: a copy, as ec2-user, by sudo
commit v2.1.0
inside bash -c 'git clone -q file:///srv/cloudcafe /root/copy && cp -R /root/copy/services/analytics-worker /home/ec2-user/ && chown -R ec2-user: /home/ec2-user/analytics-worker'
expect "ssh: a copy without git, by ec2-user" inside runuser -u ec2-user -- bash -c 'cd /home/ec2-user/analytics-worker && ./deploy-ec2.sh'
expect "it runs" inside systemctl is-active analytics-worker
expect "a verb of the service, by ec2-user" inside runuser -u ec2-user -- sudo /opt/cloudcafe/analytics-worker/current/deploy/deploy-ec2.sh --run doctor

# ---- Systems Manager: git pull as root in the folder of user data
commit v2.2.0
expect "Systems Manager: git pull and ./deploy-ec2.sh" inside sh -c 'cd /home/ec2-user/cloudcafe/services/analytics-worker && git pull -q && ./deploy-ec2.sh'
expect "the new version runs" runs 2.2.0
# The same where the checkout is ec2-user's own, which git keeps from root at first.
inside chown -R ec2-user: /home/ec2-user/cloudcafe
commit v2.3.0
expect "ssh: in the checkout, by ec2-user" inside runuser -u ec2-user -- bash -c 'cd /home/ec2-user/cloudcafe/services/analytics-worker && git pull -q && ./deploy-ec2.sh'
expect "its version is told" runs 2.3.0
commit v2.4.0
expect "Systems Manager: in ec2-user's checkout" inside sh -c 'cd /home/ec2-user/cloudcafe/services/analytics-worker && git pull -q && ./deploy-ec2.sh'
expect "the new version runs" runs 2.4.0

# ---- a release in a bucket
release 1.0.0
mkdir -p "$root/root/s3/bucket/releases"
cp "$root"/root/dist/*.gz "$root/root/s3/bucket/releases/"
url=s3://bucket/releases/analytics-worker_1.0.0_linux_amd64.tar.gz
script=/home/ec2-user/cloudcafe/services/analytics-worker/deploy-ec2.sh
sum=$(sha256sum "$root/root/s3/bucket/releases/analytics-worker_1.0.0_linux_amd64.tar.gz")
if inside bash "$script" "$url" >/dev/null 2>&1; then bad "S3 without SHA256SUMS is taken"; else ok "S3 without SHA256SUMS is refused"; fi
expect "S3 with --sha256" inside bash "$script" --sha256 "${sum%% *}" "$url"
expect "it runs" runs 1.0.0
cp "$root/root/dist/SHA256SUMS" "$root/root/s3/bucket/releases/"
expect "--rollback" inside bash "$script" --rollback
expect "S3 with SHA256SUMS beside it" inside bash "$script" "$url"
expect "it runs" runs 1.0.0
if inside bash "$script" s3://bucket/none.tar.gz >"$work/none" 2>&1 || ! grep -q s3:GetObject "$work/none"; then bad "a file that is not there is not told"; else ok "a file that is not there is told, with what to check"; fi
expect "--uninstall takes the agent's configuration back" inside bash -c "bash $script --uninstall && ! ls /opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/*worker*"
finish
