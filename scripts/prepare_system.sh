#!/usr/bin/env bash
# Check for what pip cannot install: a Python with venv, and the system libraries that OpenCV's wheel links to. With `tests`
# also check for the build tools of cpp_bench, an emulated processor, an MQTT broker, nginx, a browser, a simulated camera
# (GStreamer) and a recorded video; tests that need them are skipped without.
# Root on Debian or Ubuntu (a container, CI) installs the missing packages; other users get the command to run.
#   prepare_system.sh [PYTHON [tests]]
set -euo pipefail
python=${1:-python3}
for_tests=${2:-}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "$python is not Python 3.11 or later; name one: PYTHON=python3.12 make ..." >&2
    exit 1
}

missing=()
"$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
for library in libGL.so.1:libgl1 libgthread-2.0.so.0:libglib2.0-0; do
    "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "${library%:*}" 2>/dev/null || missing+=("${library#*:}")
done
needed=${#missing[@]}
if [ "$for_tests" = tests ]; then
    for command in cmake:cmake g++:g++ make:make pkg-config:pkg-config git:git qemu-x86_64:qemu-user; do
        command -v "${command%:*}" >/dev/null || missing+=("${command#*:}")
    done
    for header in doctest/doctest.h:doctest-dev nlohmann/json.hpp:nlohmann-json3-dev zip.h:libzip-dev openssl/evp.h:libssl-dev; do
        [ -e "/usr/include/${header%:*}" ] || missing+=("${header#*:}")
    done
    [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
    [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
    for command in chromium caddy shellcheck yamllint; do
        command -v "$command" >/dev/null || missing+=("$command")
    done
    /usr/bin/python3 tests/service/video/simulated_camera.py check 2>/dev/null || missing+=(
        python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 glib-networking gstreamer1.0-libav
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    )
fi
video=${XDG_CACHE_HOME:-$HOME/.cache}/sal/video/vtest.avi
if [ "$for_tests" != tests ] || [ -e "$video" ]; then video=; fi
[ ${#missing[@]} -eq 0 ] && [ -z "$video" ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    if [ ${#missing[@]} -gt 0 ]; then
        echo "installing Debian packages: ${missing[*]}"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
    if [ -n "$video" ]; then
        echo "fetching the recording that tests look at from Debian's package opencv-doc"
        folder=$(mktemp -d)
        if (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root opencv-doc); then
            dpkg-deb --fsys-tarfile "$folder"/*.deb |
                tar -xO ./usr/share/doc/opencv-doc/examples/data/vtest.avi >"$folder/vtest.avi"
            mkdir -p "$(dirname "$video")"
            mv "$folder/vtest.avi" "$video"
        else
            echo "it cannot be had; tests that look at it are skipped" >&2
        fi
        rm -r "$folder"
    fi
elif [ ${#missing[@]} -gt 0 ]; then
    echo "missing system packages: ${missing[*]}; on Debian or Ubuntu: sudo apt-get install ${missing[*]}" >&2
    [ "$needed" -eq 0 ] || exit 1
fi
