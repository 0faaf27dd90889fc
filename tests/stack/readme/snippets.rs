//! The README shows what is compiled, to the letter.
//!
//! A snippet is a region between `// README: begin` and `// README: end` in a file of this folder. Every Rust block of the README is such a region,
//! and every region is in the README.

const README: &str = include_str!("../../../README.md");
const FILES: [&str; 5] = [
    include_str!("axum_server.rs"),
    include_str!("gateway.rs"),
    include_str!("operation.rs"),
    include_str!("reqwest_client.rs"),
    include_str!("tonic.rs"),
];

/// A block of code: what follows the opening fence, and the lines.
pub(crate) struct Block {
    pub(crate) language: &'static str,
    pub(crate) text: String,
}

pub(crate) fn blocks() -> Vec<Block> {
    let mut blocks = vec![];
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let text = text.join("\n");
            blocks.push(Block { language, text });
        }
    }
    blocks
}

/// The regions of a file, without their common indentation.
fn regions(file: &str) -> Vec<String> {
    let mut regions = vec![];
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("// README: begin") {
            let region: Vec<_> = lines
                .by_ref()
                .take_while(|line| line.trim() != "// README: end")
                .collect();
            let full = region.iter().filter(|line| !line.is_empty());
            let indent = full.map(|line| line.len() - line.trim_start().len()).min();
            let dedented = region
                .iter()
                .map(|line| line.get(indent.unwrap_or(0)..).unwrap_or_default());
            regions.push(dedented.collect::<Vec<_>>().join("\n"));
        }
    }
    regions
}

#[test]
fn every_rust_block_is_compiled_and_every_region_is_shown() {
    let compiled: Vec<_> = FILES.into_iter().flat_map(regions).collect();
    let shown: Vec<_> = blocks()
        .into_iter()
        .filter(|block| block.language.starts_with("rust"))
        .collect();
    for Block { language, text } in &shown {
        assert_eq!(*language, "rust", "a block that claims not to be tested");
        assert!(
            compiled.contains(text),
            "no region in tests/stack/readme is this block of README.md:\n{text}"
        );
    }
    for region in &compiled {
        assert!(
            shown.iter().any(|block| block.text == *region),
            "README.md does not show this region:\n{region}"
        );
    }
}

#[test]
fn every_block_has_a_language_and_no_hidden_lines() {
    for Block { language, text } in blocks() {
        let known = ["console", "rust", "sh", "text", "toml"];
        assert!(known.contains(&language), "```{language}\n{text}");
        let hidden = |line: &str| line == "#" || line.starts_with("# ");
        assert!(!text.lines().any(hidden), "hidden lines:\n{text}");
    }
}
