# shellcheck shell=bash disable=SC2153
# A part of tools/test-engines: where runs are handed on to.  MLflow with its server, the validator of RO-Crate, and a
# browser for reports.  The first two have many packages, so that each has an environment of its own.

# install_environment NAME PACKAGE...
install_environment() {
    local name=$1
    shift
    if [ ! -f "$STATE/$name/complete" ]; then
        say "installing $*"
        rm -rf "${STATE:?}/$name"
        python3 -m venv "$STATE/$name"
        "$STATE/$name/bin/pip" install --quiet "$@"
        touch "$STATE/$name/complete"
    fi
}

install_sharing() {
    install_environment mlflow mlflow
    install_environment ro-crate rocrate roc-validator
}

mlflow_is_ready() { [ -f "$STATE/mlflow/complete" ]; }

validator_is_ready() { [ -f "$STATE/ro-crate/complete" ]; }
