# shellcheck shell=bash
# Local Kind cluster. Sourced by ../cluster.sh, whose functions it uses.

REGISTRY=docker.io/library/registry:$(version docker.io/library/registry)

kind_up() {
    need docker kind kubectl helm helmfile openssl git make
    need_docker
    if kind get clusters 2>/dev/null | grep -x "$NAME" >/dev/null; then
        say "cluster $NAME exists"
        docker start "$NAME-control-plane" >/dev/null
        kind export kubeconfig --name "$NAME" --kubeconfig "$KUBECONFIG"
    else
        say "creating cluster $NAME"
        kind create cluster --config deploy/kind/cluster.yaml --kubeconfig "$KUBECONFIG" --wait 3m
    fi
    kind_answers
    kubectl wait --for=condition=Ready node --all --timeout=3m
    remember_jenkins
    remember_alerts
    if [ -n "$JENKINS_REPOSITORY" ]; then
        kind_registry
        make_images localhost:5001 kind-registry:5000
    else
        make_images
    fi
    cat >"$VALUES" <<END
alerts: {receiver: "$ALERTS"}
image: $SERVER
tools: $TOOLS
train: $TRAIN
page: $PAGE
jenkins: {repository: "$JENKINS_REPOSITORY", agentImage: "$AGENT", image: "kind-registry:5000/$MODEL"}
END
    install_everything
    addresses
}
# A restarted node does not answer immediately.
kind_answers() {
    local deadline=$((SECONDS + 180))
    until kubectl get --raw /readyz >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || die "cluster $NAME does not answer: make kind-down, then make kind-up"
        sleep 1
    done
}
# Local registry, to which Jenkins pushes images.
kind_registry() {
    local config=/etc/containerd/certs.d/kind-registry:5000
    docker container inspect kind-registry >/dev/null 2>&1 || docker run --detach --restart always \
        --publish 127.0.0.1:5001:5000 --network kind --name kind-registry "$REGISTRY" >/dev/null
    docker start kind-registry >/dev/null
    docker exec "$NAME-control-plane" mkdir -p "$config"
    echo '[host."http://kind-registry:5000"]' | docker exec -i "$NAME-control-plane" cp /dev/stdin "$config/hosts.toml"
}
kind_down() {
    need docker kind
    need_docker
    say "deleting cluster $NAME with all its data"
    kind delete cluster --name "$NAME" --kubeconfig "$KUBECONFIG"
    docker rm --force --volumes kind-registry >/dev/null 2>&1 || true
    rm -f "$KUBECONFIG" "$VALUES"
    echo "deleted; docker keeps the images"
}
