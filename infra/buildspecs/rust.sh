# Sourced by the buildspecs: the Rust that rust-toolchain.toml names, for cargo and rustup on the PATH. The sums are those
# of the official Rust images for rustup 1.28.2; the toolchain itself is verified by rustup.
if ! command -v rustup >/dev/null; then
    case "$(uname -m)" in
        x86_64) sum=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c ;;
        aarch64) sum=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c ;;
    esac
    curl --fail --silent --show-error --proto '=https' --tlsv1.2 --output /tmp/rustup-init \
        "https://static.rust-lang.org/rustup/archive/1.28.2/$(uname -m)-unknown-linux-gnu/rustup-init" || exit 1
    echo "$sum  /tmp/rustup-init" | sha256sum --check --strict || exit 1
    chmod +x /tmp/rustup-init
    /tmp/rustup-init -y --no-modify-path --profile minimal --default-toolchain none || exit 1
    export PATH="$HOME/.cargo/bin:$PATH"
fi
rust=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
rustup toolchain install "$rust" --profile minimal --component clippy --component rustfmt || exit 1
rustc --version
