# shellcheck shell=bash
# A cluster on this machine. Read by ../cluster.sh, whose functions it uses.

REGISTRY=docker.io/library/registry:$(version docker.io/library/registry)

kind_up() {
    need docker kind kubectl helm helmfile openssl make
    need_docker
    if kind get clusters 2>/dev/null | grep -x "$NAME" >/dev/null; then
        say "cluster $NAME is there"
        docker start "$NAME-control-plane" >/dev/null
        kind export kubeconfig --name "$NAME" --kubeconfig "$KUBECONFIG"
    else
        say "making cluster $NAME"
        kind create cluster --config deploy/kind/cluster.yaml --kubeconfig "$KUBECONFIG" --wait 3m
    fi
    kubectl wait --for=condition=Ready node --all --timeout=3m
    remember_jenkins
    remember_alerts
    local source agent='' image='' unsigned='' repository=$MODEL tag='' pinned=''
    if [ -n "$JENKINS_REPOSITORY" ]; then
        kind_registry
        repository=kind-registry:5000/$MODEL
        image=$(deployed)
    fi
    if [ -n "$image" ]; then
        say "the server's image stays $image: Jenkins deploys what it signs"
        pinned=${image#*@}
    else
        source=$MODEL:$(git describe --tags --always --dirty)
        build image "$source"
        if [ -n "$JENKINS_REPOSITORY" ]; then
            push "$source" "localhost:5001/$MODEL:$TAG"
            pinned=$DIGEST unsigned=localhost:5001/$MODEL@$DIGEST
        else
            docker tag "$source" "$MODEL:$TAG"
            say "loading $MODEL:$TAG into the node"
            kind load docker-image --name "$NAME" "$MODEL:$TAG"
            tag=$TAG
        fi
    fi
    if [ -n "$JENKINS_REPOSITORY" ]; then
        build agent-image "$NAME-ci:built"
        push "$NAME-ci:built" "localhost:5001/$NAME-ci:$TAG"
        agent=kind-registry:5000/$NAME-ci@$DIGEST
    fi
    cat >"$VALUES" <<END
alerts: {receiver: "$ALERTS"}
image: {repository: "$repository", tag: "$tag", digest: "$pinned"}
jenkins: {repository: "$JENKINS_REPOSITORY", agentImage: "$agent", image: "kind-registry:5000/$MODEL"}
END
    install_everything "$unsigned"
    addresses
}
# Jenkins pushes what it builds to a registry beside the node.
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
    say "deleting cluster $NAME, with all that it holds"
    kind delete cluster --name "$NAME" --kubeconfig "$KUBECONFIG"
    docker rm --force --volumes kind-registry >/dev/null 2>&1 || true
    rm -f "$KUBECONFIG" "$VALUES"
    echo "nothing is left but the images that docker keeps"
}
