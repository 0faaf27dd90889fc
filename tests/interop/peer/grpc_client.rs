use mainstay::BoxError;
pub(crate) async fn run(_server: &str, _victim: &str) -> Result<(), BoxError> {
    Ok(())
}
