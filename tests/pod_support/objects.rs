//! Manifests as `kubectl kustomize` renders them, with the repository of a test put in.

use std::path::Path;

use serde_json::Value;

use super::engine::{ENDPOINT, KEY_ID, SECRET};
use crate::support::manifests::kustomized;

/// All objects of one kustomization.
#[derive(Clone, Debug)]
pub struct Objects(pub Vec<Value>);

impl Objects {
    /// `directory` is below `deploy`. The address of the store is that of the test, everything else as it stands there.
    #[track_caller]
    pub fn rendered(directory: &str) -> Self {
        let mut objects = kustomized(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(directory));
        for object in objects.iter_mut().filter(|object| object["kind"] == "ConfigMap") {
            for text in object["data"].as_object_mut().unwrap().values_mut() {
                let here = text.as_str().unwrap().replace("https://s3.example.org", ENDPOINT);
                *text = Value::String(here);
            }
        }
        Self(objects)
    }

    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> &Value {
        self.0
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    #[track_caller]
    pub fn only(&self, kind: &str) -> &Value {
        let all: Vec<&Value> = self.0.iter().filter(|object| object["kind"] == kind).collect();
        assert_eq!(all.len(), 1, "there is not one {kind}");
        all[0]
    }

    /// What a ConfigMap or a Secret has, as names and contents of files. Whatever a Secret of the manifests is, its keys
    /// are those of the test's store.
    #[track_caller]
    pub fn files(&self, kind: &str, name: &str) -> Vec<(String, String)> {
        if kind == "Secret" {
            return vec![
                ("access-key-id".to_owned(), KEY_ID.to_owned()),
                ("secret-access-key".to_owned(), SECRET.to_owned()),
            ];
        }
        let data = self.get(kind, name)["data"].as_object().unwrap();
        data.iter().map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect()
    }
}
