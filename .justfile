# The verbs of this repository. Continuous integration runs `.ci/run`, which is `verify`.

# Everything: format, lints, dependency rules, tests.
verify:
    tests/run

# Format and lints.
check:
    cargo fmt --check
    cargo clippy --all-targets --features sabotage,bench --locked -- -D warnings

# All tests, or those whose name contains FILTER.
test FILTER="":
    cargo test --locked --features sabotage {{FILTER}}

# Dependency rules.
deps:
    cargo deny --locked check bans licenses sources

# The three days of the demo.
demo *ARGS:
    cargo run --release --locked -- demo {{ARGS}}

# The benchmark; `--full` for the sizes of the target table.
bench *ARGS:
    tests/bench/run {{ARGS}}
