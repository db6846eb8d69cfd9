//! Time of each step of the pipeline: `cargo bench -p millstream-bench`. Compare on a quiet machine; instruction counts need none.
#![allow(missing_docs)]
use criterion::{Criterion, criterion_group, criterion_main};
use millstream_bench::scenario::SCENARIOS;

fn walk(criterion: &mut Criterion) {
    for &(name, set_up) in SCENARIOS {
        let mut scenario = set_up();
        criterion.bench_function(name, |bencher| bencher.iter(|| scenario.run()));
    }
}

criterion_group!(benches, walk);
criterion_main!(benches);
