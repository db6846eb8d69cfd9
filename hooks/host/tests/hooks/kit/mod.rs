//! Makes guests for tests, out of the contract and WAT.
#![allow(dead_code, missing_docs, reason = "each test takes what it needs")]
use std::path::Path;
use std::sync::LazyLock;

use millstream_hooks::wit::{auth, policy, types};
use millstream_hooks::{Capacity, Hook, Runtime, Settings, World};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// One runtime for a test process.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new(Capacity { calls: 16, kept: 4 }).unwrap());

const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");

/// The contract, as guests see it.
pub(crate) fn contract(dir: &Path, world: World) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(dir).unwrap();
    let world = resolve.select_world(&[package], Some(world.wit_world())).unwrap();
    (resolve, world)
}

/// A copy of the contract in which a text of a file is replaced ("*": of all files).
pub(crate) fn altered(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut replaced = 0;
    for entry in std::fs::read_dir(WIT).unwrap() {
        let path = entry.unwrap().path();
        let mut text = std::fs::read_to_string(&path).unwrap();
        if file == "*" || path.ends_with(file) {
            replaced += text.matches(from).count();
            text = text.replace(from, to);
        }
        std::fs::write(dir.path().join(path.file_name().unwrap()), text).unwrap();
    }
    assert!(replaced > 0, "{file} has no {from:?}");
    dir
}

/// A core module from WAT, with the section that says its world.
pub(crate) fn core(world: World, wat: &str) -> Vec<u8> {
    core_of(Path::new(WIT), world, wat)
}

/// The same, for another contract.
pub(crate) fn core_of(contract_dir: &Path, world: World, wat: &str) -> Vec<u8> {
    let (resolve, id) = contract(contract_dir, world);
    let mut module = wat::parse_str(wat).unwrap();
    embed_component_metadata(&mut module, &resolve, id, StringEncoding::UTF8).unwrap();
    module
}

/// The component of a core module.
pub(crate) fn encode(core: &[u8]) -> Vec<u8> {
    ComponentEncoder::default().module(core).unwrap().validate(true).encode().unwrap()
}

/// The parts of a guest that tests replace. Bodies are WAT; static data is below 1,024, answers are written at 1,024.
pub(crate) struct Guest {
    pub(crate) world: World,
    pub(crate) imports: &'static str,
    pub(crate) memory: &'static str,
    /// Data, tables, globals, functions, a start function.
    pub(crate) items: String,
    /// The function of the world that decides: authorize, select-renditions, on-frame, on-notices.
    pub(crate) body: String,
    pub(crate) describe: String,
    pub(crate) check_config: String,
}

/// `next`, no renditions, no event, no orders; all of them begin with zeros or a 2.
pub(crate) fn guest(world: World) -> Guest {
    let body = match world {
        World::Auth => "(i32.store8 (i32.const 1024) (i32.const 2)) (i32.const 1024)",
        _ => "(i32.const 1024)",
    };
    Guest {
        world,
        imports: "",
        memory: "1",
        items: String::new(),
        body: body.into(),
        describe: "(i32.const 1024)".into(),
        check_config: "(i32.const 1024)".into(),
    }
}

impl Guest {
    pub(crate) fn wat(&self) -> String {
        let decides = match self.world {
            World::Auth => {
                "(func (export \"millstream:hooks/auth@0.1.0#authorize\") (param i32) (result i32) BODY)
                (func (export \"millstream:hooks/auth@0.1.0#resume\") (param i32) (result i32) BODY)"
            }
            World::Policy => {
                "(func (export \"millstream:hooks/policy@0.1.0#select-renditions\") (param i32) (result i32) BODY)"
            }
            World::Motion => {
                "(func (export \"millstream:hooks/motion@0.1.0#start\") (param i32) (result i32)
                    (i32.store (i32.const 2052) (i32.const 160)) (i32.store (i32.const 2056) (i32.const 90))
                    (f32.store (i32.const 2060) (f32.const 5)) (i32.const 2048))
                (func (export \"millstream:hooks/motion@0.1.0#on-frame\") (param i32 i32 i32 i32 i64) (result i32) (local $n i32)
                    (global.set $heap (i32.const 4096)) BODY)"
            }
            World::Events => {
                "(func (export \"millstream:hooks/events@0.1.0#on-notices\") (param i32 i32) (result i32) BODY)"
            }
        };
        let Self { imports, memory, items, describe, check_config, .. } = self;
        format!(
            "(module {imports}
              (memory (export \"memory\") {memory})
              (global $heap (mut i32) (i32.const 4096))
              (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                (global.set $heap (i32.add (local.get $at) (local.get 3)))
                (block $fits
                  (br_if $fits (i32.le_u (global.get $heap) (i32.shl (memory.size) (i32.const 16))))
                  (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16))))))
                  (unreachable))
                (local.get $at))
              (func (export \"millstream:hooks/meta@0.1.0#describe\") (result i32) {describe})
              (func (export \"millstream:hooks/meta@0.1.0#check-config\") (result i32) {check_config})
              {decides} {items})",
            decides = decides.replace("BODY", &self.body)
        )
    }

    pub(crate) fn core(&self) -> Vec<u8> {
        core(self.world, &self.wat())
    }

    pub(crate) fn hook(&self) -> Hook {
        self.hook_with(Settings::new("test", "1", self.world))
    }

    pub(crate) fn hook_with(&self, settings: Settings) -> Hook {
        hook(&self.core(), settings, self.world)
    }
}

pub(crate) fn hook(module: &[u8], settings: Settings, world: World) -> Hook {
    let compiled = RUNTIME.compile(module, world).unwrap();
    Hook::new(RUNTIME.load(&compiled.artifact).unwrap(), settings)
}

pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Vec<types::Pair> {
    pairs.iter().map(|(name, value)| types::Pair { name: (*name).into(), value: (*value).into() }).collect()
}

pub(crate) fn target(params: &[(&str, &str)]) -> types::Target {
    types::Target {
        app: "live".into(),
        name: "lobby".into(),
        params: pairs(params),
        settings: vec![],
        labels: vec![],
        extra: vec![],
    }
}

pub(crate) fn source() -> policy::Source {
    policy::Source {
        target: target(&[]),
        video: "h264".into(),
        width: 1920,
        height: 1080,
        fps_num: 30,
        fps_den: 1,
        kbps: 4000,
        gop_ms: 2000,
        b_frames: false,
        audio: "aac".into(),
        sample_rate: 48_000,
        channels: 2,
        viewers: 0,
        load_percent: 10,
        extra: vec![],
    }
}

pub(crate) fn request(action: &str, params: &[(&str, &str)]) -> auth::Request {
    auth::Request {
        action: action.into(),
        recheck: false,
        client: types::Client {
            session: "s-1".into(),
            ip: "192.0.2.7".into(),
            port: 50_000,
            protocol: "hls".into(),
            secure: true,
            user_agent: "test".into(),
            referer: String::new(),
            token: String::new(),
            extra: vec![],
        },
        target: target(params),
        viewers: 3,
        extra: vec![],
    }
}
