//! Says what OpenH264's own build does not: without nasm it is built without its assembly.
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PATH");
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let is_x86 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch.starts_with("x86"));
    if !is_set("CARGO_FEATURE_CODECS") || !is_x86 || is_set("OPENH264_NO_ASM") {
        return;
    }
    let nasm = Command::new("nasm").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !nasm.is_ok_and(|status| status.success()) {
        println!(
            "cargo::warning=nasm is not installed: rav1e is not built without it (leave out the feature av1), and OpenH264 is built without assembly, which makes workers about half as fast; \
             install it, then `cargo clean -p openh264-sys2`"
        );
    }
}
