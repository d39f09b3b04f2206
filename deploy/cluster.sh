#!/usr/bin/env bash
# Install the whole system on a cluster: the releases of helmfile.yaml.gotmpl.
#   deploy/cluster.sh kind up|down|logins
#   deploy/cluster.sh gke  up|down|logins ENV
# Idempotent: run it again after an error. It does not change your kubeconfig; that of the cluster is under
# .reviews-parsing/. Optional variables:
#
#   JENKINS_REPOSITORY=https://...  also install Jenkins, for that repository
#   ALERTS_SLACK_URL=...            receiver of alerts: an incoming webhook of Slack, stored in a Secret
#   ALERTS_WEBHOOK_URL=...          or any webhook that accepts Alertmanager's JSON
#   ACME_EMAIL=...                  (gke) contact address for the certificate authority
#   YES=ENV                         (gke down) confirm the deletion without a prompt
set -euo pipefail
cd "$(dirname "$0")/.."

NAME=reviews-parsing
MODEL=reviews-parsing-ner-aspects
STATE=.reviews-parsing
BIN=.venv/bin
# Namespaces with their Pod Security level. Node exporters need the privileged one.
NAMESPACES=(reviews-parsing=restricted jaeger=restricted mlflow=baseline istio-ingress=baseline monitoring=privileged)

say() { printf '\n== %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
usage() {
    sed -n '3,4s/^# *//p' "$0" >&2
    exit 2
}

# version NAME: print the version of an image or a tool in versions.yaml
version() { sed -n "s|^    $1: \"\{0,1\}\([^\"]*\)\"\{0,1\}\$|\1|p" deploy/versions.yaml; }

# where_from TOOL: print the tested version and the download page of a tool
where_from() {
    case $1 in
        docker) echo "https://docs.docker.com/engine/install" ;;
        kind) echo "$(version kind), https://kind.sigs.k8s.io" ;;
        kubectl) echo "$(version kubectl), https://kubernetes.io/docs/tasks/tools" ;;
        helm) echo "$(version helm), https://helm.sh/docs/intro/install" ;;
        helmfile) echo "$(version helmfile), https://github.com/helmfile/helmfile/releases" ;;
        terraform) echo ">= 1.9, https://developer.hashicorp.com/terraform/install" ;;
        gcloud) echo "https://cloud.google.com/sdk/docs/install" ;;
        gke-gcloud-auth-plugin) echo "gcloud components install gke-gcloud-auth-plugin" ;;
        *) echo "a package of your system" ;;
    esac
}
need() {
    local tool missing=0
    for tool in "$@"; do
        command -v "$tool" >/dev/null && continue
        printf 'error: %s is missing: %s\n' "$tool" "$(where_from "$tool")" >&2
        missing=1
    done
    [ "$missing" = 0 ] || exit 1
}
need_docker() {
    docker info >/dev/null 2>&1 || die "docker is installed, but its daemon does not answer: start it"
    # Podman prefixes image names with localhost/, which kind does not find, and uses another image's ignore file.
    case $(docker --version 2>/dev/null) in podman*) die "docker is podman here: install docker, $(where_from docker)" ;; esac
}

# --- Secrets: random passwords, created once, and passed to commands by stdin only.

password() { openssl rand -hex 24; }
field() { kubectl --namespace "$1" get secret "$2" --output go-template="{{index .data \"$3\" | base64decode}}"; }
has() { kubectl --namespace "$1" get secret "$2" >/dev/null 2>&1; }
# secret NAMESPACE NAME [TYPE] < lines of KEY=VALUE
secret() {
    kubectl --namespace "$1" create secret generic "$2" --type="${3:-Opaque}" --from-env-file=/dev/stdin >/dev/null
    echo "   $1/$2"
}
# Later runs keep Jenkins: its namespace is annotated with the repository.
remember_jenkins() {
    JENKINS_REPOSITORY=${JENKINS_REPOSITORY:-$(kubectl get namespace jenkins --ignore-not-found \
        --output go-template="{{with .metadata.annotations}}{{with index . \"$NAME/repository\"}}{{.}}{{end}}{{end}}")}
}
# Later runs keep the receiver of alerts.
remember_alerts() {
    ALERTS=''
    if [ -n "${ALERTS_SLACK_URL:-}" ]; then
        ALERTS=slack
    elif [ -n "${ALERTS_WEBHOOK_URL:-}" ]; then
        ALERTS=webhook
    elif has monitoring alert-receiver; then
        ALERTS=$(field monitoring alert-receiver kind)
    fi
}
make_secrets() {
    local row namespace access key value
    say "namespaces and secrets (existing ones are kept)"
    for row in "${NAMESPACES[@]}"; do
        namespace=${row%=*}
        kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
        kubectl label --overwrite namespace "$namespace" "pod-security.kubernetes.io/enforce=${row#*=}" >/dev/null
    done
    has istio-ingress gateway-login ||
        printf 'username=reviews\npassword=%s\n' "$(password)" | secret istio-ingress gateway-login
    if ! has istio-ingress gateway-users; then
        # The format of htpasswd -s.
        value=$(field istio-ingress gateway-login password | openssl dgst -sha1 -binary | openssl base64)
        printf 'htpasswd=%s:{SHA}%s\n' "$(field istio-ingress gateway-login username)" "$value" |
            secret istio-ingress gateway-users nginx.org/htpasswd
    fi
    has mlflow mlflow-auth || printf 'username=admin\npassword=%s\n' "$(password)" | secret mlflow mlflow-auth
    # MLflow users of the server (read-only) and of the retraining; deploy/seed.py creates them in MLflow.
    has reviews-parsing mlflow-credentials ||
        printf 'username=inference\npassword=%s\n' "$(password)" | secret reviews-parsing mlflow-credentials
    has reviews-parsing mlflow-retrain ||
        printf 'username=retrain\npassword=%s\n' "$(password)" | secret reviews-parsing mlflow-retrain
    has monitoring grafana-admin ||
        printf 'admin-user=admin\nadmin-password=%s\n' "$(password)" | secret monitoring grafana-admin
    value=${ALERTS_SLACK_URL:-${ALERTS_WEBHOOK_URL:-}}
    if [ -n "$value" ]; then
        kubectl --namespace monitoring delete secret alert-receiver --ignore-not-found >/dev/null
        printf 'kind=%s\nurl=%s\n' "$ALERTS" "$value" | secret monitoring alert-receiver
    fi
    if [ "$CLUSTER" = kind ] && ! has mlflow mlflow-s3; then
        access=$(password) key=$(password)
        value='{"name":"mlflow","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin"]}'
        value="{\"identities\":[$value]}"
        # shellcheck disable=SC2059  # the format is the line above
        printf "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\nseaweedfs_s3_config=$value\n" \
            "$access" "$key" "$access" "$key" | secret mlflow mlflow-s3
    fi
    [ -n "$JENKINS_REPOSITORY" ] || return 0
    kubectl get namespace jenkins >/dev/null 2>&1 || kubectl create namespace jenkins
    kubectl annotate --overwrite namespace jenkins "$NAME/repository=$JENKINS_REPOSITORY" >/dev/null
    kubectl apply --filename deploy/services/jenkins/k8s-auth/namespaces.yaml >/dev/null
    has jenkins jenkins-admin ||
        printf 'jenkins-admin-user=admin\njenkins-admin-password=%s\n' "$(password)" | secret jenkins jenkins-admin
    has jenkins jenkins-repository ||
        printf 'repository-webhook-token=%s\n' "$(password)" | secret jenkins jenkins-repository
    if ! has jenkins-builds cosign; then
        # Key pair that signs images. cosign is in the image of the agents, which is built before.
        key=$STATE/cosign
        rm -rf "$key" && mkdir -m 700 "$key" && (umask 077 && password | tr -d '\n' >"$key/cosign.password")
        COSIGN_PASSWORD=$(<"$key/cosign.password") docker run --rm --user "$(id -u):$(id -g)" --env COSIGN_PASSWORD \
            --env HOME=/key --volume "$PWD/$key:/key" --workdir /key --entrypoint cosign "$NAME-ci:built" \
            generate-key-pair
        kubectl --namespace jenkins-builds create secret generic cosign --from-file="$key" >/dev/null
        rm -rf "$key"
        echo "   jenkins-builds/cosign"
    fi
    # MLflow users of the pipeline, which deploy/seed.py creates: the gate reads, the rollout promotes.
    for value in gate rollout; do
        has jenkins-agents "mlflow-$value" ||
            printf 'username=%s\npassword=%s\n' "$value" "$(password)" | secret jenkins-agents "mlflow-$value"
    done
    has jenkins-agents mlflow-retrain ||
        printf 'username=retrain\npassword=%s\n' "$(field reviews-parsing mlflow-retrain password)" |
        secret jenkins-agents mlflow-retrain
}

# --- Images: tagged by content, so that only changed images are rolled out.

# build TARGET IMAGE: run make TARGET, which builds IMAGE; sets TAG
build() {
    say "building the image: make $1"
    # kind cannot load an image index, which attestations would add.
    BUILDX_NO_DEFAULT_ATTESTATIONS=1 CONTAINER_ENGINE=docker make --silent "$1" \
        AGENT_IMAGE="$2" TOOLS_IMAGE="$2" TRAIN_IMAGE="$2"
    TAG=$(docker image inspect --format '{{.Id}}' "$2")
    TAG=${TAG#sha256:}
    TAG=${TAG:0:12}
}
# push LOCAL REMOTE: push an image; sets DIGEST
push() {
    docker tag "$1" "$2"
    docker push --quiet "$2"
    DIGEST=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$2" |
        awk -v name="${2%:*}@" 'index($0, name) == 1 && !found++')
    DIGEST=${DIGEST#*@}
}
# place NAME TARGET IMAGE: run make TARGET, which builds IMAGE, and make it available to the nodes as NAME: push it to the
# registry PUSH, whose name on the nodes is PULL, or load it into the node; sets PLACE (image in the chart's values), and
# appends to UNSIGNED
place() {
    build "$2" "$3"
    if [ -n "$PUSH" ]; then
        say "pushing $PUSH/$1:$TAG"
        push "$3" "$PUSH/$1:$TAG"
        PLACE="{repository: \"$PULL/$1\", tag: \"\", digest: \"$DIGEST\"}"
        [ -z "$JENKINS_REPOSITORY" ] || UNSIGNED+=" $PUSH/$1@$DIGEST"
    else
        docker tag "$3" "$1:$TAG"
        say "loading $1:$TAG into the node"
        kind load docker-image --name "$NAME" "$1:$TAG"
        PLACE="{repository: \"$1\", tag: \"$TAG\", digest: \"\"}"
    fi
}
# make_images [PUSH PULL]: build all images of the releases; sets SERVER, TOOLS and TRAIN (values), PAGE (true if it is
# enabled), AGENT, and UNSIGNED (images to sign before the deployment)
make_images() {
    local image='' images manifests chart=deploy/charts/reviews-parsing none='{repository: "", tag: "", digest: ""}'
    PUSH=${1:-} PULL=${2:-} UNSIGNED='' AGENT='' TOOLS=$none TRAIN=$none PAGE=false
    manifests=$(helm template "$NAME" "$chart" --values "$chart/values-$CLUSTER.yaml")
    ! grep -q '^  name: reviews-parsing-demo$' <<<"$manifests" || PAGE=true
    # Images of page, report and retraining, if the values enable one and name no other image.
    images=$(sed -n 's/^ *image: \(reviews-parsing-t[a-z]*:[^@]*\)$/\1/p' <<<"$manifests" | sort -u)
    [ -z "$JENKINS_REPOSITORY" ] || image=$(deployed)
    if [ -n "$image" ]; then
        say "the server's image stays $image: Jenkins deploys the images that it signs"
        SERVER="{repository: \"${image%@*}\", tag: \"\", digest: \"${image#*@}\"}"
    else
        image=$MODEL:$(git describe --tags --always --dirty)
        place "$MODEL" image "$image"
        SERVER=$PLACE
    fi
    for image in $images; do
        case $image in
            *-tools:*)
                place "${image%:*}" tools-image "$image"
                TOOLS=$PLACE
                ;;
            *-train:*)
                place "${image%:*}" train-image "$image"
                TRAIN=$PLACE
                ;;
        esac
    done
    if [ -n "$JENKINS_REPOSITORY" ]; then
        build agent-image "$NAME-ci:built"
        push "$NAME-ci:built" "$PUSH/$NAME-ci:$TAG"
        AGENT=$PULL/$NAME-ci@$DIGEST
    fi
}
# deployed: print the image that Jenkins has deployed, REPOSITORY@DIGEST, if any
deployed() {
    kubectl --namespace reviews-parsing get inferenceservice "$MODEL" --ignore-not-found \
        --output jsonpath='{.spec.predictor.model.image}' 2>/dev/null || true
}
# sign IMAGE@DIGEST [USER:PASSWORD]: sign an image with the key of the Jenkins builds
sign() {
    local key=$STATE/cosign options=() registry=${1%%/*}
    say "signing $1"
    [ "${registry%%:*}" != localhost ] || options+=(--allow-http-registry)
    rm -rf "$key" && mkdir -m 700 "$key"
    (
        umask 077
        field jenkins-builds cosign cosign.key >"$key/cosign.key"
        printf '{"auths":{"%s":{"auth":"%s"}}}' "$registry" "$(printf %s "${2:-}" | openssl base64 -A)" >"$key/config.json"
    )
    COSIGN_PASSWORD=$(field jenkins-builds cosign cosign.password) docker run --rm --network host \
        --user "$(id -u):$(id -g)" --env COSIGN_PASSWORD --env DOCKER_CONFIG=/key --env HOME=/tmp \
        --volume "$PWD/$key:/key:ro" --entrypoint cosign "$NAME-ci:built" \
        sign --yes --key /key/cosign.key --new-bundle-format=false --use-signing-config=false --tlog-upload=false \
        ${options[@]+"${options[@]}"} "$1"
    rm -rf "$key"
}

# --- Steps of both clusters.

helmfile_sync() {
    helmfile --file deploy/helmfile.yaml.gotmpl --environment "$CLUSTER" --state-values-file "$PWD/$VALUES" \
        --selector "tier=$1" sync
}
# Helm refuses to change a release that is "pending" because its installation was killed.
unstick() {
    local name namespace revision
    helm list --all-namespaces --pending --no-headers | while read -r name namespace revision _; do
        say "release $name was interrupted: undoing it"
        if [ "$revision" = 1 ]; then
            helm uninstall "$name" --namespace "$namespace" --wait </dev/null
        else
            helm rollback "$name" --namespace "$namespace" --wait </dev/null
        fi
    done
}
# install_everything [USER:PASSWORD]: install all releases; the login is that of the registry, for signatures
install_everything() {
    local image
    make_secrets
    for image in $UNSIGNED; do sign "$image" "${1:-}"; done
    unstick
    say "releases: the platform (a quarter of an hour on the first run)"
    helmfile_sync platform
    say "MLflow: users and the first champion"
    forward mlflow svc/mlflow 443
    MLFLOW_TRACKING_URI=https://127.0.0.1:$PORT
    MLFLOW_TRACKING_SERVER_CERT_PATH=$PWD/$STATE/mlflow-ca.crt
    field mlflow mlflow-tls ca.crt >"$MLFLOW_TRACKING_SERVER_CERT_PATH"
    MLFLOW_TRACKING_USERNAME=$(field mlflow mlflow-auth username)
    MLFLOW_TRACKING_PASSWORD=$(field mlflow mlflow-auth password)
    READER_USERNAME=$(field reviews-parsing mlflow-credentials username)
    READER_PASSWORD=$(field reviews-parsing mlflow-credentials password)
    TRAINER_USERNAME=$(field reviews-parsing mlflow-retrain username)
    TRAINER_PASSWORD=$(field reviews-parsing mlflow-retrain password)
    export MLFLOW_TRACKING_URI MLFLOW_TRACKING_SERVER_CERT_PATH MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD
    export READER_USERNAME READER_PASSWORD TRAINER_USERNAME TRAINER_PASSWORD
    if [ -n "$JENKINS_REPOSITORY" ]; then
        GATE_USERNAME=$(field jenkins-agents mlflow-gate username)
        GATE_PASSWORD=$(field jenkins-agents mlflow-gate password)
        PROMOTER_USERNAME=$(field jenkins-agents mlflow-rollout username)
        PROMOTER_PASSWORD=$(field jenkins-agents mlflow-rollout password)
        export GATE_USERNAME GATE_PASSWORD PROMOTER_USERNAME PROMOTER_PASSWORD
    fi
    "$BIN/python" deploy/seed.py
    say "releases: the inference server"
    helmfile_sync application
    served=$(kubectl --namespace reviews-parsing get inferenceservice "$MODEL" --output \
        jsonpath='{.spec.predictor.model.env[?(@.name=="REVIEWS_PARSING_MODEL_URI")].value}')
    if [ -n "$served" ]; then
        say "the server keeps $served; reviews-parsing rollout changes it"
    else
        say "rolling out the champion"
        "$BIN/reviews-parsing" rollout start --timeout 15m
    fi
    say "waiting for the gateway and its certificate"
    kubectl --namespace istio-ingress wait --for=condition=Programmed gateway "$NAME" --timeout=5m
    kubectl --namespace istio-ingress wait --for=condition=Ready certificate --all --timeout=5m ||
        say "no certificate yet; cert-manager retries: check that the host names resolve to the gateway's address"
}
# forward NAMESPACE OBJECT PORT: forward a free local port to it until the script ends; sets PORT
forward() {
    local log=$STATE/forward.log deadline=$((SECONDS + 60))
    kubectl --namespace "$1" port-forward "$2" ":$3" >"$log" 2>&1 &
    trap 'kill '$!' 2>/dev/null || true' EXIT
    until PORT=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\).*/\1/p' "$log") && [ -n "$PORT" ]; do
        kill -0 $! 2>/dev/null || die "$2 cannot be reached: $(tail -n 1 "$log")"
        [ $SECONDS -lt $deadline ] || die "$2 cannot be reached within a minute"
        sleep 0.2
    done
}
addresses() {
    local host hosts=(api mlflow grafana jaeger)
    [ -z "$JENKINS_REPOSITORY" ] || hosts+=(jenkins)
    ! kubectl --namespace reviews-parsing get deployment "$NAME-demo" >/dev/null 2>&1 || hosts+=(demo)
    say "everything is up"
    for host in "${hosts[@]}"; do printf '   %-8s https://%s.%s\n' "$host" "$host" "$DOMAIN"; done
    cat <<END

   make $CLUSTER-logins${1:+ ENV=$1}   prints users and passwords
   export KUBECONFIG=$KUBECONFIG
END
    [ "$CLUSTER" = gke ] || cat <<END
   kubectl -n cert-manager get secret $NAME-ca -o jsonpath='{.data.ca\.crt}' | base64 -d > $STATE/ca.crt
   curl --cacert $STATE/ca.crt -u reviews https://api.$DOMAIN/v2/models/$MODEL
END
}
logins() {
    local row
    printf '%-18s %-10s %s\n' host user password
    for row in "api jaeger demo|istio-ingress gateway-login username password" \
        "mlflow|mlflow mlflow-auth username password" "grafana|monitoring grafana-admin admin-user admin-password" \
        "jenkins|jenkins jenkins-admin jenkins-admin-user jenkins-admin-password"; do
        read -r namespace name user pass <<<"${row#*|}"
        has "$namespace" "$name" || continue
        printf '%-18s %-10s %s\n' "${row%%|*}" \
            "$(field "$namespace" "$name" "$user")" "$(field "$namespace" "$name" "$pass")"
    done
}

# shellcheck source=deploy/kind/cluster.sh
. deploy/kind/cluster.sh
# shellcheck source=deploy/gke/cluster.sh
. deploy/gke/cluster.sh

CLUSTER=${1:-} ACTION=${2:-} ENV=${3:-}
case "$CLUSTER $ACTION" in
    "kind up" | "kind down" | "kind logins") [ $# = 2 ] || usage ;;
    "gke up" | "gke down" | "gke logins") [ -n "$ENV" ] || die "which environment? make $CLUSTER-$ACTION ENV=dev" ;;
    *) usage ;;
esac
if [ "$CLUSTER" = gke ] && [ ! -f "$TERRAFORM/environments/$ENV.tfvars" ]; then
    die "there is no environment $ENV: $TERRAFORM/environments/$ENV.tfvars is missing"
fi
mkdir -p "$STATE"
DOMAIN=reviews.localhost
VALUES=$STATE/$CLUSTER${ENV:+-$ENV}.yaml
export KUBECONFIG=$PWD/$STATE/$CLUSTER${ENV:+-$ENV}.kubeconfig
if [ "$ACTION" = logins ]; then
    need kubectl
    [ -f "$KUBECONFIG" ] || die "there is no cluster yet: make $CLUSTER-up${ENV:+ ENV=$ENV}"
    logins
else
    "${CLUSTER}_$ACTION"
fi
