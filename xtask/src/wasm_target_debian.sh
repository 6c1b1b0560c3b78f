#!/usr/bin/env bash
# Installs a WASI target in the sysroot of $RUSTC from Debian packages: std from rust-src of the same rustc version, built once, and the C
# library from wasi-libc. For machines where rustup cannot reach its server. Called by `cargo xtask wasm-target`, which has looked before.
# The system's apt configuration is read for its mirror and not changed: a private apt state is used, signatures are checked.
# Needs a Debian-like machine with apt, and cargo able to reach its registry. rust-lld and wasm-component-ld ship with rustc.
# Usage: wasm_target_debian.sh wasm32-wasip2      Env: LAKEHOST_SUITES: suites to try, in order.
set -euo pipefail

target=$1
suites=${LAKEHOST_SUITES:-"trixie-backports forky-backports sid forky trixie"}
say() { printf 'wasm-target: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

rustc=${RUSTC:-rustc}; cargo=${CARGO:-cargo}
sysroot=$("$rustc" --print sysroot)
version=$("$rustc" --version | awk '{print $2}')
src="$sysroot/lib/rustlib/src/rust/library"
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
command -v apt-get >/dev/null || die "no apt here"

# The base address of the archive, as this machine's own apt configuration has it.
base=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -v -e security | grep -m1 -e '/debian/*$' || true)
[ -n "$base" ] || base=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null \
  | sed -nE 's/^(URIs:|deb( +\[[^]]*\])?) +([^ ]+).*/\3/p' | grep -v -e security | grep -m1 -e '/debian/*$' || true)
[ -n "$base" ] || die "found no Debian archive in this machine's apt configuration"

apt="$tmp/apt"; mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/dl"; : > "$apt/sources.list"
options=(-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
  -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
  -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false
  -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o APT::Get::List-Cleanup=false)
key=/usr/share/keyrings/debian-archive-keyring.gpg; signed=; [ -f $key ] && signed="[signed-by=$key] "
versions_of() { apt-cache "${options[@]}" madison "$1" 2>/dev/null | awk '{print $3}'; }
fetch() { # package=version, unpacked under $tmp/unpacked-<package>
  local package=${1%%=*}
  (cd "$apt/dl" && apt-get "${options[@]}" -q download "$1" >"$tmp/download.log" 2>&1) || { cat "$tmp/download.log" >&2; die "cannot download $1"; }
  mkdir -p "$tmp/unpacked-$package"; dpkg-deb -x "$apt/dl/${package}"_*.deb "$tmp/unpacked-$package"
}

source_version=; libc_version=
[ -f "$src/std/Cargo.toml" ] && source_version=present
for suite in $suites; do
  [ -n "$source_version" ] && [ -n "$libc_version" ] && break
  printf 'deb %s%s %s main\n' "$signed" "$base" "$suite" >> "$apt/sources.list"
  apt-get "${options[@]}" -q update >"$tmp/update.log" 2>&1 || { say "suite $suite: not usable"; sed -i '$d' "$apt/sources.list"; continue; }
  [ -n "$source_version" ] || source_version=$(versions_of rust-src | grep -m1 -E "^${version//./\\.}[+~-]" || true)
  # wasip2 is in wasi-libc since 2025.
  [ -n "$libc_version" ] || libc_version=$(versions_of wasi-libc | grep -E '^0\.0~git(202[5-9]|20[3-9])' | sort -V | tail -1 || true)
done
[ -n "$source_version" ] || die "no suite of ($suites) has rust-src $version"
[ -n "$libc_version" ] || die "no suite of ($suites) has a wasi-libc with wasip2"
if [ "$source_version" != present ]; then
  say "rust-src $source_version"; fetch "rust-src=$source_version"
  mkdir -p "$(dirname "$src")"; rm -rf "$src.new"
  cp -r "$tmp"/unpacked-rust-src/usr/src/rustc-*/library "$src.new"; rm -rf "$src"; mv "$src.new" "$src"
fi
say "wasi-libc $libc_version"; fetch "wasi-libc=$libc_version"

mkdir -p "$tmp/std/src"; : > "$tmp/std/src/lib.rs"
cat > "$tmp/std/Cargo.toml" <<'T'
[package]
name = "lakehost-std-probe"
version = "0.0.0"
edition = "2021"
[profile.release]
debug = 0
[workspace]
T
installed="$sysroot/lib/rustlib/$target/lib"; new="$sysroot/lib/rustlib/.$target.new"
rm -rf "$new"; mkdir -p "$new/lib/self-contained" "$installed"
libc="$tmp/unpacked-wasi-libc/usr/lib/$target"
[ -f "$libc/libc.a" ] || die "wasi-libc has no $target"
cp "$libc"/{crt1-command.o,crt1-reactor.o,libc.a} "$new/lib/self-contained/"
# build-std links nothing for rlibs, but rustc looks for libc.a while it compiles the libc crate.
cp -r "$new/lib/self-contained" "$installed/"
say "building std for $target"
# embed-bitcode: so that lto = "fat" | "thin" works, as with rustup's own std.
(cd "$tmp/std" && env -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_RUSTFLAGS RUSTC="$rustc" RUSTC_BOOTSTRAP=1 \
  RUSTFLAGS="-Cembed-bitcode=yes" CARGO_TARGET_DIR="$tmp/target" \
  "$cargo" build -q --release -Zbuild-std=std,panic_abort,test --target "$target") || die "std for $target did not build"
for file in "$tmp/target/$target/release/deps"/lib*.rlib; do
  case $file in *liblakehost_std_probe*) ;; *) cp "$file" "$new/lib/" ;; esac
done
rm -rf "$sysroot/lib/rustlib/$target"; mv "$new" "$sysroot/lib/rustlib/$target"
say "$target: installed in the sysroot ($(du -sh "$sysroot/lib/rustlib/$target" | cut -f1))"
