#!/bin/sh
# Start a campaign over the API and read how it stands. Needs curl, and a key with the scopes
# campaigns:launch and campaigns:read.
#
#   AGENTICOS_URL=http://localhost:8000 AGENTICOS_KEY=aos_… TEMPLATE_ID=1 sh start_campaign.sh "Autumn"
set -eu

url=${AGENTICOS_URL:-http://localhost:8000}
name=${1:-"From a script"}
key=${IDEMPOTENCY_KEY:-"start-$(date +%s)-$$"}

call() {
  curl --silent --show-error --fail-with-body \
    --header "Authorization: Bearer $AGENTICOS_KEY" --header "Content-Type: application/json" "$@"
}

# With the same Idempotency-Key a second try (a lost answer, a retried job) starts nothing twice.
started=$(call --header "Idempotency-Key: $key" "$url/api/campaign/start" --data "{
  \"name\": \"$name\", \"target_type\": \"leads\", \"limit\": ${LIMIT:-50},
  \"template_id\": $TEMPLATE_ID, \"dry_run\": ${DRY_RUN:-false}
}")
printf '%s\n' "$started"

id=$(printf '%s' "$started" | sed -n 's/.*"campaign_id": *\([0-9][0-9]*\).*/\1/p')
if [ -n "$id" ]; then
  call "$url/api/campaign/$id"
  echo
fi
