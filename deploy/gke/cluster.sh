# shellcheck shell=bash
# GKE cluster, created by Terraform. Sourced by ../cluster.sh, whose functions it uses.

TERRAFORM=deploy/gke/terraform

output() { terraform -chdir="$TERRAFORM" output -raw "$1" 2>/dev/null; }
gke_outputs() {
    local environment
    environment=$(output environment) ||
        die "there are no Terraform outputs for $ENV: run terraform init and apply first, see deploy/gke/README.md"
    [ "$environment" = "$ENV" ] ||
        die "Terraform's state is of environment $environment, not $ENV: run terraform init -reconfigure with $ENV's prefix"
    PROJECT=$(output project) REGION=$(output region) DOMAIN=$(output domain) ADDRESS=$(output gateway_ip)
    GKE_CLUSTER=$(output cluster_name) IMAGES=$(output artifact_registry)
}
gke_credentials() {
    local command
    read -ra command <<<"$(output get_credentials)"
    "${command[@]}"
}
# Each host under the domain of Cloud Endpoints gets its DNS record from an OpenAPI document.
endpoints_hosts() {
    case $DOMAIN in *".endpoints.$PROJECT.cloud.goog" | "endpoints.$PROJECT.cloud.goog") ls "$STATE/endpoints" ;; esac
}
resolves() {
    local lookup='import socket, sys; sys.exit(socket.gethostbyname(sys.argv[1]) != sys.argv[2])'
    "$BIN/python" -c "$lookup" "$1" "$ADDRESS" 2>/dev/null
}
gke_endpoints() {
    local file host
    rm -rf "$STATE/endpoints"
    "$BIN/python" deploy/gke/endpoints.py "$DOMAIN" "$ADDRESS" "$STATE/endpoints"
    for file in $(endpoints_hosts); do
        host=${file%.json}
        # Documents of the other hosts hold only the name: nothing to do if it resolves to the gateway.
        [ "$host" = "api.$DOMAIN" ] || ! resolves "$host" || continue
        say "Cloud Endpoints: $host is $ADDRESS"
        # A deleted service is kept for 30 days, and must be undeleted before it can be deployed again.
        gcloud endpoints services undelete "$host" --project "$PROJECT" --quiet >/dev/null 2>&1 || true
        gcloud endpoints services deploy "$STATE/endpoints/$file" --project "$PROJECT" --quiet
    done
    [ -n "$(endpoints_hosts)" ] || resolves "api.$DOMAIN" ||
        say "DNS: *.$DOMAIN does not resolve to $ADDRESS yet; certificates wait for that record"
}
gke_up() {
    need gcloud gke-gcloud-auth-plugin terraform docker kubectl helm helmfile openssl git make
    need_docker
    gke_outputs
    say "cluster $GKE_CLUSTER in $PROJECT, $REGION"
    gke_credentials
    remember_jenkins
    remember_alerts
    gke_endpoints
    # Platform of the nodes, which may differ from this machine's.
    export DOCKER_DEFAULT_PLATFORM=linux/amd64
    gcloud auth print-access-token |
        docker login --username oauth2accesstoken --password-stdin "https://${IMAGES%%/*}" >/dev/null
    make_images "$IMAGES" "$IMAGES"
    cat >"$VALUES" <<END
domain: $DOMAIN
gatewayAddress: "$ADDRESS"
acmeEmail: "${ACME_EMAIL:-}"
alerts: {receiver: "$ALERTS"}
image: $SERVER
tools: $TOOLS
train: $TRAIN
page: $PAGE
mlflow: {bucket: $(output mlflow_bucket), serviceAccount: $(output mlflow_service_account)}
inference: {serviceAccount: $(output inference_service_account)}
models: {network: "$(output models_network)"}
jenkins:
  repository: "$JENKINS_REPOSITORY"
  agentImage: "$AGENT"
  image: $IMAGES/$MODEL
  serviceAccount: $(output jenkins_service_account)
END
    install_everything "oauth2accesstoken:$(gcloud auth print-access-token)"
    addresses "$ENV"
}
gke_down() {
    need gcloud gke-gcloud-auth-plugin terraform kubectl
    gke_outputs
    [ "$(output deletion_protection)" = false ] ||
        die "$ENV is protected: deletion_protection in $TERRAFORM/environments/$ENV.tfvars; nothing was deleted"
    local answer=${YES:-} host left
    echo "This deletes cluster $GKE_CLUSTER in project $PROJECT with every model, run, image, disk and address."
    [ -n "$answer" ] || read -rp "Type $ENV to continue: " answer || true
    [ "$answer" = "$ENV" ] || die "nothing was deleted"
    if gke_credentials; then
        say "deleting load balancers and disks, which only the running cluster can release"
        if kubectl get crd gateways.gateway.networking.k8s.io >/dev/null 2>&1; then
            kubectl delete gateways.gateway.networking.k8s.io --all --all-namespaces --timeout=5m
        fi
        kubectl delete namespace --ignore-not-found --timeout=15m \
            "${NAMESPACES[@]%=*}" jenkins jenkins-agents jenkins-builds
        [ -z "$(kubectl get persistentvolumes --output name)" ] ||
            kubectl wait --for=delete persistentvolume --all --timeout=10m
    else
        say "the cluster does not exist any more"
    fi
    for host in $(gcloud endpoints services list --project "$PROJECT" --format 'value(serviceName)' |
        grep --fixed-strings ".$DOMAIN" || true); do
        say "Cloud Endpoints: $host"
        gcloud endpoints services delete "$host" --project "$PROJECT" --quiet
    done
    say "terraform destroy"
    terraform -chdir="$TERRAFORM" destroy -auto-approve -var "project=$PROJECT" -var-file "environments/$ENV.tfvars"
    rm -rf "$KUBECONFIG" "$VALUES" "$STATE/endpoints"
    left=$(
        gcloud compute disks list --project "$PROJECT" --filter "labels.goog-k8s-cluster-name=$GKE_CLUSTER" \
            --format 'value(name)'
        gcloud compute addresses list --project "$PROJECT" --filter "address=$ADDRESS" --format 'value(name)'
    )
    [ -z "$left" ] || die "these remain in project $PROJECT, and cost money: ${left//$'\n'/ }"
    echo "everything is deleted; Terraform's state stays in its bucket"
}
