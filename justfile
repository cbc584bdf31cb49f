# Short names for what people do here; `just` alone lists them.

_default:
    @just --list

# the program, as it is shipped
build:
    cargo build --release --locked

# everything continuous integration runs
test:
    tests/run

# the quick round while working: units and one kind of integration test, as `just quick volume::`
quick *filter:
    cargo test --locked --lib {{filter}}

# format and lints, as strict as continuous integration
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings

# the figures of docs/benchmarks.md, beside other tools
bench:
    benches/run

# one fuzz target until it breaks or is stopped: `just fuzz entry`
fuzz target:
    mkdir -p fuzz/corpus/{{target}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}}

# the whole life of a volume in a temporary directory
demo:
    cargo run --release --locked -- demo
