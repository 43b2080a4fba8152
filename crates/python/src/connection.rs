//! A Master, as Python holds it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slap::{InstanceState, InstanceTitle, NodeId, PartitionId, ReleaseUrl, Value};
use slap_client::{
    Client, Error, Hateoas, InstanceTreeInfo, Request, RequestReply, Settings, Trust,
    normalise_master_url,
};

use crate::calls::outside;
use crate::errors::raise;
use crate::values::{dict_from_python, to_python};

/// Longest time-out, in seconds: a day.
const TIMEOUT_MAX: f64 = 86_400.0;

/// A document's fields, parameters, connection parameters.
type Told<'py> = (
    Bound<'py, PyDict>,
    BTreeMap<String, String>,
    BTreeMap<String, String>,
);

/// A connection to a Master: safe from any thread, and nothing is read or sent before it is used.
#[pyclass(frozen, module = "slapos.slap._native")]
pub(crate) struct Connection {
    settings: Settings,
    rest_url: Option<String>,
    client: Arc<Mutex<Option<Client>>>,
    documents: Arc<Mutex<Option<Hateoas>>>,
}

#[pymethods]
impl Connection {
    /// `ca_file` is the authority that vouches for the Master; without one the public authorities
    /// do. `verify=False` believes anybody.
    #[new]
    #[pyo3(signature = (master_url, *, key_file=None, cert_file=None, ca_file=None, verify=true, timeout=None, rest_url=None))]
    fn new(
        master_url: &str,
        key_file: Option<PathBuf>,
        cert_file: Option<PathBuf>,
        ca_file: Option<PathBuf>,
        verify: bool,
        timeout: Option<f64>,
        rest_url: Option<String>,
    ) -> PyResult<Self> {
        let mut settings = Settings::new(master_url);
        // One file may hold both.
        settings.certificate = match (cert_file, key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(both), None) => Some((both.clone(), both)),
            (None, _) => None,
        };
        settings.trust = match (verify, ca_file) {
            (false, _) => Trust::Insecure,
            (true, Some(file)) => Trust::CaFile(file),
            (true, None) => Trust::WebRoots,
        };
        if let Some(seconds) = timeout {
            if seconds.is_nan() || seconds <= 0.0 {
                return Err(PyValueError::new_err(format!(
                    "a time-out of {seconds} seconds makes no sense"
                )));
            }
            settings.timeout = Duration::from_secs_f64(seconds.min(TIMEOUT_MAX));
        }
        Ok(Connection {
            settings,
            rest_url: rest_url.filter(|url| !url.is_empty()),
            client: Arc::default(),
            documents: Arc::default(),
        })
    }

    /// The Master's URL, ending in `/`.
    #[getter]
    fn master_url(&self) -> String {
        normalise_master_url(&self.settings.master_url)
    }

    /// Reads from an endpoint; its answer as it came.
    fn ask(&self, py: Python<'_>, call: String, fields: Vec<(String, String)>) -> PyResult<String> {
        self.run(py, move |connected| {
            connected.client()?.ask(&call, &borrowed(&fields))
        })
    }

    /// Writes to an endpoint, on behalf of a partition (node, partition) if one is named.
    #[pyo3(signature = (call, fields, partition=None))]
    fn tell(
        &self,
        py: Python<'_>,
        call: String,
        fields: Vec<(String, String)>,
        partition: Option<(String, String)>,
    ) -> PyResult<String> {
        let partition = match partition {
            Some((node, partition)) => {
                Some((parsed::<NodeId>(&node)?, parsed::<PartitionId>(&partition)?))
            }
            None => None,
        };
        self.run(py, move |connected| {
            let partition = partition.as_ref().map(|(node, name)| (node, name));
            connected
                .client()?
                .tell(&call, &borrowed(&fields), partition)
        })
    }

    /// Asks for an instance. What is `None` stays what it is. The answer is the instance's object,
    /// or the reason why there is none yet, as a text.
    #[pyo3(signature = (release, title, *, parameters=None, software_type=None, sla=None, state=None, shared=None))]
    #[allow(clippy::too_many_arguments)]
    fn request(
        &self,
        py: Python<'_>,
        release: &str,
        title: &str,
        parameters: Option<&Bound<'_, PyAny>>,
        software_type: Option<&str>,
        sla: Option<&Bound<'_, PyAny>>,
        state: Option<&str>,
        shared: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let release: ReleaseUrl = parsed(release)?;
        let title: InstanceTitle = parsed(title)?;
        let software_type = software_type.map(parsed).transpose()?;
        let state = state.map(parsed::<InstanceState>).transpose()?;
        let parameters = parameters.map(dict_from_python).transpose()?;
        let sla = sla.map(dict_from_python).transpose()?;
        let reply = self.run(py, move |connected| {
            let client = connected.client()?;
            let known = if parameters.is_some()
                && software_type.is_some()
                && state.is_some()
                && shared.is_some()
            {
                None
            } else {
                connected.known(&title)?
            };
            let known = known.as_ref();
            client.request(&Request {
                requester: None,
                release,
                software_type: software_type
                    .or_else(|| known?.software_type.parse().ok())
                    .unwrap_or_default(),
                parameters: parameters.unwrap_or_else(|| known.map(held).unwrap_or_default()),
                sla: sla.unwrap_or_default(),
                state: state.or_else(|| known?.state.split('_').next()?.parse().ok()),
                shared: shared.unwrap_or_else(|| known.is_some_and(|tree| tree.shared)),
                title,
            })
        })?;
        match reply {
            RequestReply::Allocated(document) => {
                to_python(py, &document.to_value()).map(Bound::unbind)
            }
            RequestReply::NotReady { why } => Ok(why.into_pyobject(py)?.into_any().unbind()),
        }
    }

    /// A one-time token by which a compute node is enrolled.
    fn token(&self, py: Python<'_>) -> PyResult<String> {
        self.run(py, |connected| connected.documents()?.node_token())
    }

    /// The products of the Master and the best release of each; `None` where it lists none.
    fn catalogue(&self, py: Python<'_>) -> PyResult<Option<BTreeMap<String, String>>> {
        self.run(py, |connected| {
            // Whether the Master is there at all is told apart from what it lists.
            match connected.client()?.hateoas_url() {
                Err(error) if error.is_master_unreachable() => Err(error),
                _ => Ok(None),
            }
        })
    }

    /// My instance trees: title and release.
    fn instance_trees(&self, py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        self.run(py, |connected| {
            let trees = connected.documents()?.instance_trees()?;
            Ok(trees
                .into_iter()
                .map(|tree| (tree.title, tree.release))
                .collect())
        })
    }

    /// What the Master's document says of one of my instance trees: its fields, and what of it has
    /// more than one form, read: its parameters and what it published.
    fn instance_tree<'py>(&self, py: Python<'py>, title: &str) -> PyResult<Told<'py>> {
        let title: InstanceTitle = parsed(title)?;
        let (fields, tree) = self.run(py, move |connected| {
            let fields = connected.documents()?.instance_tree_fields(&title)?;
            let tree = InstanceTreeInfo::from_fields(&title, &fields);
            Ok((fields, tree))
        })?;
        let told = PyDict::new(py);
        for (name, field) in &fields {
            told.set_item(name, to_python(py, &Value::from(field))?)?;
        }
        Ok((told, tree.parameters, tree.connection))
    }

    /// The compute nodes I may see: reference and title.
    fn nodes(&self, py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        self.run(py, |connected| {
            let nodes = connected.documents()?.nodes()?;
            Ok(nodes
                .into_iter()
                .map(|node| (node.reference, node.title))
                .collect())
        })
    }

    /// One compute node: reference and title.
    fn node(&self, py: Python<'_>, reference: &str) -> PyResult<(String, String)> {
        let reference: NodeId = parsed(reference)?;
        self.run(py, move |connected| {
            let node = connected.documents()?.node(&reference)?;
            Ok((node.reference, node.title))
        })
    }
}

impl Connection {
    fn run<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Connected) -> Result<T, Error> + Send + 'static,
    ) -> PyResult<T> {
        let connected = Connected {
            settings: self.settings.clone(),
            rest_url: self.rest_url.clone(),
            client: Arc::clone(&self.client),
            documents: Arc::clone(&self.documents),
        };
        outside(py, move || work(&connected))?.map_err(|error| raise(py, &error))
    }
}

/// What a call works with on its own thread: made at the first call, so that nothing is read before
/// it is needed and what was wrong then may have been put right since.
struct Connected {
    settings: Settings,
    rest_url: Option<String>,
    client: Arc<Mutex<Option<Client>>>,
    documents: Arc<Mutex<Option<Hateoas>>>,
}

impl Connected {
    fn client(&self) -> Result<Client, Error> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let client = Client::new(self.settings.clone())?;
        *kept = Some(client.clone());
        Ok(client)
    }

    fn documents(&self) -> Result<Hateoas, Error> {
        let kept = || {
            self.documents
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(documents) = &*kept() {
            return Ok(documents.clone());
        }
        let documents = Hateoas::open(&self.client()?, self.rest_url.as_deref())?;
        *kept() = Some(documents.clone());
        Ok(documents)
    }

    /// What the Master holds of this title, where it tells.
    fn known(&self, title: &InstanceTitle) -> Result<Option<InstanceTreeInfo>, Error> {
        match self
            .documents()
            .and_then(|documents| documents.instance_tree(title))
        {
            Ok(tree) => Ok(Some(tree)),
            Err(Error::NotFound { .. } | Error::NoHateoas { .. } | Error::NotReady { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn held(tree: &InstanceTreeInfo) -> BTreeMap<String, Value> {
    tree.parameters
        .iter()
        .map(|(key, value)| (key.clone(), Value::text(value)))
        .collect()
}

fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> PyResult<T> {
    text.parse()
        .map_err(|error: T::Err| PyValueError::new_err(error.to_string()))
}
