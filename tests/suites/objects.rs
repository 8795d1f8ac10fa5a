//! What lies in a real bucket, brought into a folder, so that what reads tables in folders reads it, too.

use std::fs;
use std::path::Path;

use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore as _, ObjectStoreExt as _, path};
use system_tests::{ACCESS_KEY, BUCKET, ObjectStore, REGION, SECRET_KEY};

/// Copies everything below `prefix` of the bucket to `folder`; says how many objects that are.
pub(crate) fn download(store: &ObjectStore, prefix: &str, folder: &Path) -> Result<usize, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(copy(store, prefix, folder)).map_err(|e| e.to_string())
}

async fn copy(store: &ObjectStore, prefix: &str, folder: &Path) -> Result<usize, Box<dyn std::error::Error>> {
    let client = AmazonS3Builder::new()
        .with_endpoint(store.endpoint())
        .with_bucket_name(BUCKET)
        .with_region(REGION)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .with_allow_http(true)
        .build()?;
    let prefix = path::Path::from(prefix);
    let mut folders = vec![prefix.clone()];
    let mut n = 0;
    while let Some(at) = folders.pop() {
        let listed = client.list_with_delimiter(Some(&at)).await?;
        folders.extend(listed.common_prefixes);
        for object in listed.objects {
            // What a process tries a store with when it starts; it may be gone again.
            if object.location.as_ref().contains("/__firn/") {
                continue;
            }
            let below = object.location.as_ref().strip_prefix(prefix.as_ref()).unwrap_or_default();
            let file = folder.join(below.trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap_or(folder))?;
            fs::write(file, client.get(&object.location).await?.bytes().await?)?;
            n += 1;
        }
    }
    Ok(n)
}
