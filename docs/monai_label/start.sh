#!/usr/bin/env bash
# Start a MONAI Label server with this bundle, on this machine alone. The first start makes all that it needs:
#   FOLDER/env      MONAI Label's own environment (or the folder SCSAM_LABEL_ENV)
#   FOLDER/app      the app, with a copy of the bundle in app/model/scsam; its models are never overwritten here
#   FOLDER/images   the data store, with generated sample images
# usage: docs/monai_label/start.sh FOLDER [--port 8000] [other options of `monailabel start_server`]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
mkdir -p "${1:?usage: start.sh FOLDER [--port 8000] [other options of monailabel start_server]}"
folder=$(cd "$1" && pwd)
shift

env=${SCSAM_LABEL_ENV:-$folder/env}
case $env in /*) ;; *) env=$PWD/$env ;; esac
if [ ! -e "$env/scsam-ready" ]; then
    python=${PYTHON:-python3.11}
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "MONAI Label 0.8.5 needs Python 3.11")'
    "$python" -m venv "$env"
    "$env/bin/pip" install -r "$here/requirements.txt"
    "$env/bin/pip" install --no-deps -r "$here/no-deps.txt"
    "$env/bin/pip" install --no-deps -e "$repository"
    touch "$env/scsam-ready"
fi

bundle=$folder/app/model/scsam
mkdir -p "$bundle"
cp "$repository/scsam_monai/monai_label/app/main.py" "$folder/app"
cp -R "$repository/bundle/configs" "$repository/bundle/docs" "$repository/bundle/LICENSE" "$bundle"
rm -rf "$bundle/models.new"  # of a start that was interrupted
[ -e "$bundle/models" ] || { cp -R "$repository/bundle/models" "$bundle/models.new" && mv "$bundle/models.new" "$bundle/models"; }
[ -e "$folder/images" ] || "$env/bin/python" "$here/sample_images.py" "$folder"

cd "$folder"
exec "$env/bin/python" -m monailabel.main start_server --uvicorn_app scsam_monai.monai_label.app.loopback:app --app "$folder/app" \
    --studies "$folder/images" --host 127.0.0.1 "$@"
