#!/usr/bin/env bash
# Sets mainstay's layers against clients and servers that nobody here wrote: grpcio, curl and nginx.
#
#   bash tests/interop/run.sh
#
# It builds the package `interop-peer`, unless INTEROP_PEER is the path of the program.
# One line for each case, and a summary. Ends with 0 if all is well, 1 if a case failed, 2 if a tool is missing.
# Everything listens on 127.0.0.1 only, and everything that is started is stopped again. What it leaves is in target/interop.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../.."
target="${CARGO_TARGET_DIR:-target}"
work="$PWD/target/interop"
mkdir -p "$work"

# --- tools ---------------------------------------------------------------------------------------------------------

# nginx is often where only root looks.
PATH="$PATH:/usr/sbin:/usr/local/sbin"
missing=()
command -v nginx >/dev/null || missing+=(nginx)
command -v curl >/dev/null || missing+=(curl)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    echo "run.sh: missing: ${missing[*]}. On Debian or Ubuntu: apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 2
fi
curl --version | grep -q HTTP2 || { echo "run.sh: this curl knows no HTTP/2; install one that does" >&2; exit 2; }

venv="$work/venv"
python="$venv/bin/python"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "making a virtual environment in $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"; then
        echo "run.sh: pip cannot install tests/interop/requirements.txt; it needs PyPI, or what PIP_INDEX_URL names" >&2
        exit 2
    fi
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

# --- what is built -------------------------------------------------------------------------------------------------

peer="${INTEROP_PEER:-}"
if [ -z "$peer" ]; then
    cargo build --locked --quiet -p interop-peer
    peer="$target/debug/interop-peer"
fi
mkdir -p "$work/python"
"$python" -m grpc_tools.protoc -I "$here" --python_out="$work/python" --grpc_python_out="$work/python" echo.proto
export PYTHONPATH="$here:$work/python" PYTHONDONTWRITEBYTECODE=1
# Nothing here goes through anybody's proxy.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

# --- starting and stopping -----------------------------------------------------------------------------------------

run="$(mktemp -d "$work/run.XXXXXX")"
pids=()
cases=""
stop() {
    status=$?
    trap - EXIT INT TERM
    for pid in $cases "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in $cases "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    if [ $status -eq 0 ]; then
        rm -rf "$run"
    else
        echo "what the servers said is in $run" >&2
    fi
    exit $status
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND...: in the background; its output is in $run/NAME and $run/NAME.log.
start() {
    local name=$1
    shift
    "$@" >"$run/$name" 2>"$run/$name.log" </dev/null &
    pids+=($!)
}

# addresses NAME: the line of JSON that a server prints when it listens.
addresses() {
    for _ in $(seq 200); do
        if [ -s "$run/$1" ]; then
            head -n 1 "$run/$1"
            return
        fi
        sleep 0.05
    done
    echo "run.sh: $1 did not start:" >&2
    cat "$run/$1.log" >&2
    return 1
}

# field NAME < JSON
field() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

start_nginx() {
    local upstream=$1 down=$2 port
    mkdir -p "$run/proxy"
    for _ in 1 2 3; do
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        # As root, nginx would work as somebody who may not write here.
        local user=""
        [ "$(id -u)" -ne 0 ] || user="user root;"
        sed -e "s|@USER@|$user|" -e "s|@DIR@|$run/proxy|g" -e "s|@PORT@|$port|" \
            -e "s|@UPSTREAM@|$upstream|g" -e "s|@DOWN@|$down|g" "$here/nginx.conf.in" >"$run/nginx.conf"
        start nginx nginx -c "$run/nginx.conf" -e "$run/proxy/error.log"
        local pid=${pids[-1]}
        for _ in $(seq 100); do
            if [ -s "$run/proxy/pid" ] && curl -qs --noproxy '*' -o "$run/proxy/ready" "http://127.0.0.1:$port/ready"; then
                proxy="127.0.0.1:$port"
                return
            fi
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        # Somebody else got the port first: another one.
        kill "$pid" 2>/dev/null || true
    done
    echo "run.sh: nginx did not start:" >&2
    cat "$run/nginx.log" "$run/proxy/error.log" >&2
    return 1
}

start grpc_server "$peer" grpc-server
start grpcio_server "$python" "$here/grpc_server.py"
start grpcio_victim "$python" "$here/grpc_server.py"
start grpcio_second_victim "$python" "$here/grpc_server.py"
start http_server "$peer" http-server
start upstream "$peer" upstream
upstream=$(addresses upstream)
start_nginx "$(field up <<<"$upstream")" "$(field down <<<"$upstream")"
grpc_server=$(addresses grpc_server)
grpcio_server=$(addresses grpcio_server | field address)
victims=("$(addresses grpcio_victim | field address)" "$(addresses grpcio_second_victim | field address)")
http_server=$(addresses http_server)

# --- the cases -----------------------------------------------------------------------------------------------------

mkfifo "$run/lines"
python3 "$here/report.py" <"$run/lines" &
report=$!
pids+=("$report")
exec 3>"$run/lines"

# group NAME COMMAND...: its cases, and one more if it does not come to its end. In the background, or no signal would be heard meanwhile.
group() {
    local name=$1 status=0
    shift
    timeout 60 "$@" >&3 2>"$run/cases.log" 3>&- &
    cases=$!
    wait "$cases" || status=$?
    cases=""
    if [ $status -ne 0 ]; then
        tail -n 20 "$run/cases.log" >&2
        printf '{"case": "%s: all cases are run", "ok": false, "reason": "ended with %s"}\n' "$name" "$status" >&3
    fi
}

group "grpcio -> tonic" "$python" "$here/grpc_client.py" "$grpc_server"
group "tonic -> grpcio" "$peer" grpc-client "$grpcio_server" "${victims[@]}"
group "curl -> axum" "$python" "$here/curl_client.py" "$http_server"
group "reqwest -> nginx" "$peer" http-client "$proxy" "$run/proxy/access.log"
exec 3>&-
wait "$report"
