#!/usr/bin/env bash
# Start a MONAI Label server with this bundle, on this machine alone. The first start makes all that it needs:
#   FOLDER/env      MONAI Label's own environment (or the folder SCSAM_LABEL_ENV)
#   FOLDER/app      the app, with a copy of the bundle in app/model/scsam; its models are never overwritten here
#   FOLDER/images   the data store, with generated sample images
# usage: docs/monai_label/start.sh FOLDER [--port 8000] [other options of `monailabel start_server`]
# Where the package was installed from a wheel: "$(scsam bundle path)/../docs/monai_label/start.sh" FOLDER ...
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The folder that holds docs and bundle: the repository, or the package that was installed from a wheel.
root=$(cd "$here/../.." && pwd)
package=$root/scsam_monai
[ -e "$package" ] || package=$root
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
    touch "$env/scsam-ready"
fi
# A link, so that this environment always has the release that this script belongs to.
site=$env/lib/python3.11/site-packages
mkdir -p "$site"
ln -sfn "$package" "$site/scsam_monai"

bundle=$folder/app/model/scsam
mkdir -p "$bundle"
cp "$package/monai_label/app/main.py" "$folder/app"
cp -R "$root/bundle/configs" "$root/bundle/docs" "$root/bundle/LICENSE" "$bundle"
rm -rf "$bundle/models.new"  # of a start that was interrupted
[ -e "$bundle/models" ] || { cp -R "$root/bundle/models" "$bundle/models.new" && mv "$bundle/models.new" "$bundle/models"; }
[ -e "$folder/images" ] || "$env/bin/python" "$here/sample_images.py" "$folder"

cd "$folder"
exec "$env/bin/python" -m monailabel.main start_server --uvicorn_app scsam_monai.monai_label.app.loopback:app --app "$folder/app" \
    --studies "$folder/images" --host 127.0.0.1 "$@"
