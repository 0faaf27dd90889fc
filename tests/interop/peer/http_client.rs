use mainstay::BoxError;
pub(crate) async fn run(_proxy: &str, _log: std::path::PathBuf) -> Result<(), BoxError> {
    Ok(())
}
