//! Modules that are refused at the upload, each with a message that tells its author what to do.
use millstream_hooks::{Refused, World};

use crate::fixture::{self, RUNTIME, altered, core_of, guest};

fn refused(module: &[u8], world: World) -> (Refused, String) {
    let refused = RUNTIME.compile(module, world).map(|compiled| compiled.report).unwrap_err();
    let text = refused.to_string();
    (refused, text)
}

#[test]
fn what_is_no_module() {
    for bytes in [&b""[..], b"\x7fELF", b"(module)", b"\0as", &[0; 100]] {
        assert_eq!(refused(bytes, World::Auth).0, Refused::NotWasm);
    }
    let right = guest(World::Auth).core();
    for len in [8, 9, 20, right.len() / 2, right.len() - 1] {
        let (why, text) = refused(&right[..len], World::Auth);
        assert!(matches!(why, Refused::Invalid(_) | Refused::Core(_) | Refused::World { .. }), "{len}: {text}");
    }
    assert!(matches!(refused(b"\0asm\x07\0\x07\0", World::Auth).0, Refused::Invalid(_)));
    assert!(matches!(refused(&vec![0; (20 << 20) + 1], World::Auth).0, Refused::TooLarge { .. }));
}

/// Whatever a single byte is changed to, the answer is a refusal or a module that stays within its limits.
#[test]
fn damaged_modules() {
    let right = fixture::encode(&guest(World::Auth).core());
    let mut refusals = 0;
    for n in 0..400_usize {
        let mut module = right.clone();
        let at = n * 7919 % module.len();
        module[at] ^= 1 << (n % 8);
        match RUNTIME.compile(&module, World::Auth) {
            Err(_) => refusals += 1,
            Ok(compiled) => {
                let module = RUNTIME.load(&compiled.artifact).unwrap();
                let hook =
                    millstream_hooks::Hook::new(module, millstream_hooks::Settings::new("damaged", "1", World::Auth));
                let _ = hook.authorize(&fixture::request("play", &[]));
            }
        }
    }
    assert!(refusals > 100, "{refusals}");
}

#[test]
fn a_core_module_that_says_no_world() {
    let plain = wat::parse_str("(module (memory 1) (func (export \"authorize\")))").unwrap();
    let (why, text) = refused(&plain, World::Auth);
    // It becomes an empty component, which exports nothing.
    assert!(matches!(why, Refused::Core(_) | Refused::World { .. }), "{text}");
    let wasi = wat::parse_str(
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32))))",
    )
    .unwrap();
    let (why, text) = refused(&wasi, World::Auth);
    assert!(matches!(why, Refused::Core(_)) && text.contains("wasi_snapshot_preview1"), "{text}");
}

#[test]
fn another_contract() {
    for version in ["0.2.0", "1.0.0", "0.1.9"] {
        let dir = altered("*", "@0.1.0", &format!("@{version}"));
        let wat = guest(World::Auth).wat().replace("@0.1.0", &format!("@{version}"));
        let (why, text) = refused(&core_of(dir.path(), World::Auth, &wat), World::Auth);
        assert!(matches!(why, Refused::Contract { .. }), "{text}");
        assert!(text.contains(version) && text.contains("speaks version 0.1.0"), "{text}");
    }
}

#[test]
fn exports_that_are_missing_or_of_another_type() {
    let dir = altered("worlds.wit", "export meta;", "");
    let wat = guest(World::Auth).wat().replace("(export \"millstream:hooks/meta", "(export \"other");
    let wat = wat.replace("other@0.1.0#", "other-");
    let (why, text) = refused(&core_of(dir.path(), World::Auth, &wat), World::Auth);
    assert!(matches!(why, Refused::World { .. }) && text.contains("millstream:hooks/meta"), "{text}");

    let dir = altered("auth.wit", "viewers: u32", "viewers: u64");
    let (why, text) = refused(&core_of(dir.path(), World::Auth, &guest(World::Auth).wat()), World::Auth);
    assert!(matches!(why, Refused::Types(_)) && text.contains("authorize"), "{text}");
}

#[test]
fn imports_that_hooks_are_not_given() {
    let dir = altered("worlds.wit", "import host;", "import host; import acme;");
    std::fs::write(dir.path().join("acme.wit"), "interface acme { query: func() -> u32; }").unwrap();
    let mut asks = guest(World::Auth);
    asks.imports = "(import \"millstream:hooks/acme@0.1.0\" \"query\" (func (result i32)))";
    let (why, text) = refused(&core_of(dir.path(), World::Auth, &asks.wat()), World::Auth);
    assert_eq!(why, Refused::UnknownImports(vec!["millstream:hooks/acme@0.1.0".into()]));
    assert!(text.contains("millstream:hooks/acme@0.1.0"), "{text}");

    let dir = altered("host.wit", "count: func", "exec: func(command: string); count: func");
    asks.imports = "(import \"millstream:hooks/host@0.1.0\" \"exec\" (func (param i32 i32)))";
    let (why, text) = refused(&core_of(dir.path(), World::Auth, &asks.wat()), World::Auth);
    assert!(matches!(why, Refused::Types(_)) && text.contains("exec"), "{text}");
}

/// Toolchains drag WASI in: it is named in the report, and a trap when it is called.
#[test]
fn wasi_is_a_trap_that_the_report_names() {
    let dir = altered("worlds.wit", "import host;", "import host; import wasi:cli/environment@0.2.6;");
    let deps = dir.path().join("deps/cli");
    std::fs::create_dir_all(&deps).unwrap();
    let cli = "package wasi:cli@0.2.6; interface environment { initial-cwd: func() -> u32; }";
    std::fs::write(deps.join("cli.wit"), cli).unwrap();
    let mut asks = guest(World::Auth);
    asks.imports = "(import \"wasi:cli/environment@0.2.6\" \"initial-cwd\" (func $cwd (result i32)))";
    asks.check_config = "(drop (call $cwd)) (i32.const 1024)".into();
    let compiled = RUNTIME.compile(&core_of(dir.path(), World::Auth, &asks.wat()), World::Auth).unwrap();
    assert_eq!(compiled.report.traps, ["wasi:cli/environment@0.2.6"]);
    let settings = millstream_hooks::Settings::new("wasi", "1", World::Auth);
    let hook = millstream_hooks::Hook::new(RUNTIME.load(&compiled.artifact).unwrap(), settings);
    assert!(hook.authorize(&fixture::request("play", &[])).result.is_ok());
    let failure = hook.check_config().result.unwrap_err();
    assert!(failure.label() == "trap" && failure.to_string().contains("initial-cwd"), "{failure}");
}

#[test]
fn more_memory_or_larger_tables_than_there_are() {
    let mut large = guest(World::Motion);
    large.memory = "300";
    let (why, text) = refused(&large.core(), World::Motion);
    assert!(matches!(why, Refused::Memory(_)) && text.contains("18 MiB") && text.contains("16 MiB"), "{text}");
    let mut table = guest(World::Auth);
    table.items = "(table 1000000 funcref)".into();
    let (why, text) = refused(&table.core(), World::Auth);
    assert!(matches!(why, Refused::Memory(_)) && text.contains("1000000"), "{text}");
    for items in ["(table 1 externref) (memory $second 1)", "(memory $second i64 1)"] {
        let mut two = guest(World::Auth);
        two.items = items.into();
        let wat = two.wat();
        let module = std::panic::catch_unwind(|| fixture::core(World::Auth, &wat));
        let Ok(module) = module else { continue };
        assert!(matches!(refused(&module, World::Auth).0, Refused::Invalid(_) | Refused::Core(_)));
    }
}
