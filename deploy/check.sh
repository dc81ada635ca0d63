#!/usr/bin/env bash
# Checks the files of the deployment without an engine: `make check-deploy`. A tool that this platform has not is named.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

failed=0
check() {
    local name=$1
    if ! command -v "$name" >/dev/null; then
        printf 'skipped: %s is not installed\n' "$name"
    elif ! "$@"; then
        failed=1
    fi
}

# Any passwords do: nothing is started.
export DB_PASSWORD=any PGADMIN_DEFAULT_PASSWORD=any GRAFANA_ADMIN_PASSWORD=any

check hadolint Dockerfile tests/integration/docker/postgres/Dockerfile
check shellcheck --external-sources deploy.sh cleanup.sh deploy/*.sh deploy/pgadmin/register.sh tests/integration/docker/postgres/entrypoint.sh \
    tests/unit/deploy/fake_docker.sh
check docker-compose --env-file .env.example config --quiet
check promtool check config deploy/prometheus/prometheus.yml
check promtool test rules deploy/prometheus/alerts_test.yml
exit "$failed"
