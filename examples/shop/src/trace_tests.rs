use super::*;

/// A folder with these files, which is removed at the end.
struct Logs(PathBuf);

impl Logs {
    fn new(files: &[(&str, &[&str])]) -> Self {
        let folder = std::env::temp_dir().join(format!("shop-trace-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        for (name, lines) in files {
            std::fs::write(folder.join(name), lines.join("\n")).unwrap();
        }
        Self(folder)
    }

    fn find(&self, id: &str) -> Vec<String> {
        let lines = find(&self.0, id).unwrap();
        lines.iter().map(Line::render).collect()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const GATEWAY: &str = r#"{"timestamp":"2026-01-01T10:00:00.000100Z","level":"INFO","fields":{"message":"answered","status":201},"spans":[{"correlation_id":"c-1","name":"server"}]}"#;
const PLACED: &str = r#"{"timestamp":"2026-01-01T10:00:00.000050Z","level":"INFO","fields":{"message":"placed","order":"o-1"},"spans":[{"correlation_id":"c-1","name":"server"},{"name":"attempt"}]}"#;
const RESUMED: &str = r#"{"timestamp":"2026-01-01T10:00:02.000000Z","level":"WARN","fields":{"message":"resumed","failure":"lost"},"spans":[{"order":"o-1","name":"saga"}]}"#;
const OTHER: &str = r#"{"timestamp":"2026-01-01T10:00:00.000070Z","level":"INFO","fields":{"message":"about c-1","order":"o-2"},"spans":[{"correlation_id":"c-2","name":"server"}]}"#;

fn logs() -> Logs {
    Logs::new(&[
        (
            "gateway.log",
            &["no JSON, of c-1", GATEWAY, r#"{"timestamp":"c-1"#],
        ),
        ("orders.log", &[PLACED, OTHER, RESUMED]),
    ])
}

#[test]
fn an_order_and_its_correlation_id_lead_to_the_same_lines_by_time() {
    let expected = [
        "10:00:00.000  orders         INFO   placed  order=o-1",
        "10:00:00.000  gateway        INFO   answered  status=201",
        "10:00:02.000  orders         WARN   resumed  failure=lost  order=o-1",
    ];
    assert_eq!(logs().find("o-1"), expected);
    assert_eq!(logs().find("c-1"), expected);
}

#[test]
fn what_is_not_there_is_said() {
    let logs = logs();
    assert_eq!(logs.find("c-3"), [""; 0]);
    let missing = find(&logs.0.join("missing"), "c-1").unwrap_err();
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
}
