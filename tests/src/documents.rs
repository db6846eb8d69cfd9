//! Code blocks of the repository's Markdown, so that tests can run what readers are told to run.
//!
//! A comment before a block says what is done with it: `<!-- test: NAME -->` that the test of that name runs it, `<!-- not run: REASON -->` that
//! none does.
use std::path::{Path, PathBuf};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The file, below the repository.
    pub file: String,
    /// Its first line, from 1.
    pub line: usize,
    /// What stands behind the fence: `sh`, `toml`, ...; may be empty.
    pub language: String,
    /// The comment before it, without its marks; empty where there is none.
    pub mark: String,
    pub text: String,
}

impl Block {
    /// Its commands: lines with their continuations, without what follows a `#` of a comment.
    pub fn commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        let mut whole = String::new();
        for line in self.text.lines() {
            let line = uncommented(line).trim_end();
            if let Some(begun) = line.strip_suffix('\\') {
                whole.push_str(begun);
                continue;
            }
            whole.push_str(line);
            let command = std::mem::take(&mut whole);
            if !command.trim().is_empty() {
                commands.push(command.trim().to_owned());
            }
        }
        commands
    }

    /// Where it is, as compilers write it.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// A line without its comment: a `#` outside of quotes, at the start or behind a space.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '#') if before == ' ' => return line.get(..at).unwrap_or(line),
            _ => {}
        }
        before = c;
    }
    line
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All blocks of a Markdown text.
pub fn blocks_of(file: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut mark, mut open): (String, Option<Block>) = (String::new(), None);
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(language)) => {
                open = Some(Block {
                    file: file.to_owned(),
                    line: at + 2,
                    language: language.trim().to_owned(),
                    mark: std::mem::take(&mut mark),
                    text: String::new(),
                });
            }
            (None, None) => {
                let comment = line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
                match comment {
                    Some(comment) => comment.trim().clone_into(&mut mark),
                    None if line.trim().is_empty() => {}
                    None => mark.clear(),
                }
            }
        }
    }
    assert!(open.is_none(), "{file}: a code block has no end");
    blocks
}

/// All blocks of the repository's documents for readers: the files of its root and of `docs`.
pub fn blocks() -> Vec<Block> {
    let root = repository();
    let mut files: Vec<String> = Vec::new();
    for dir in ["", "docs/"] {
        let listed = std::fs::read_dir(root.join(dir)).expect("a directory of the repository");
        let names = listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        files.extend(
            names
                .filter(|name| Path::new(name).extension().is_some_and(|end| end == "md"))
                .map(|name| format!("{dir}{name}")),
        );
    }
    files.sort();
    let read = |file: &String| std::fs::read_to_string(root.join(file)).expect("UTF-8");
    files.iter().flat_map(|file| blocks_of(file, &read(file))).collect()
}

/// Those of one file.
pub fn blocks_in(file: &str) -> Vec<Block> {
    blocks().into_iter().filter(|block| block.file == file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_marks_and_commands() {
        let text = "# A\n\n<!-- test: x -->\n```sh\na \"#1\"  # one\nb \\\n  c\n\n# only a comment\n```\ntext\n\n```toml\nk = 1\n```\n";
        let blocks = blocks_of("a.md", text);
        assert_eq!(blocks.iter().map(Block::place).collect::<Vec<_>>(), ["a.md:5", "a.md:14"]);
        assert_eq!((blocks[0].mark.as_str(), blocks[1].mark.as_str()), ("test: x", ""));
        assert_eq!(blocks[0].commands(), ["a \"#1\"", "b   c"]);
        assert_eq!(blocks[1].language, "toml");
    }
}
