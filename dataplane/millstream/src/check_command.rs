//! `millstream check FILE`: what is wrong with a configuration, with line and column. Nothing is opened but the file, and what it names: clips, certificates and keys.
use std::io::Write as _;

use anyhow::Context as _;

use crate::cli::{CheckFlags, Failure};
use crate::{certificates, layers, settings};

/// Prints `FILE: ok` to standard output and warnings to standard error.
pub(crate) fn run(flags: &CheckFlags) -> Result<(), Failure> {
    let file = flags.file.display();
    let settings = settings::read(&flags.file).map_err(Failure::configuration)?;
    let layers = layers::merge(layers::Flags::default(), settings)
        .map_err(|error| Failure::Configuration(settings::in_file(&flags.file, error)))?;
    for warning in &layers.warnings {
        eprintln!("warning: {warning}");
    }
    let in_file = |error| Failure::Configuration(settings::in_file(&flags.file, error));
    if let Some(files) = certificates::Files::of(&layers).map_err(in_file)? {
        let certificates = files.load().map_err(|error| in_file(error.context("tls.certificates")))?;
        for problem in files.problems(&certificates) {
            eprintln!("warning: certificate: {problem}");
        }
    }
    if let Some(acme) = &layers.acme {
        let order = acme.config(&layers.data_dir).map_err(in_file)?;
        if let Some(failed) = crate::acme::told(&order.files, certificates::now_s()) {
            eprintln!("warning: {failed}");
        }
    }
    writeln!(std::io::stdout(), "{file}: ok").context("cannot print the result").map_err(Failure::Running)
}
