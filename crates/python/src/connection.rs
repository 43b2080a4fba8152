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
    Changes, Cloud, Error, InstanceTreeInfo, Order, Product, Profile, RequestReply, Settings,
    Trust, Watch, normalise_master_url,
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
    profile: Arc<Profile>,
    cloud: Arc<Mutex<Option<Cloud>>>,
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
            profile: Arc::new(Profile {
                file: PathBuf::new(),
                settings,
                rest_url: rest_url.filter(|url| !url.is_empty()),
                aliases: BTreeMap::new(),
            }),
            cloud: Arc::default(),
        })
    }

    /// The Master's URL, ending in `/`.
    #[getter]
    fn master_url(&self) -> String {
        normalise_master_url(&self.profile.settings.master_url)
    }

    /// Reads from an endpoint; its answer as it came.
    fn ask(&self, py: Python<'_>, call: String, fields: Vec<(String, String)>) -> PyResult<String> {
        self.run(py, move |cloud| {
            cloud.client().ask(&call, &borrowed(&fields))
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
        self.run(py, move |cloud| {
            let partition = partition.as_ref().map(|(node, name)| (node, name));
            cloud.client().tell(&call, &borrowed(&fields), partition)
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
        let order = Order {
            title,
            release,
            software_type,
            parameters,
            sla,
            state,
            shared,
        };
        let reply = self.run(py, move |cloud| cloud.request(&order))?;
        match reply {
            RequestReply::Allocated(document) => {
                to_python(py, &document.to_value()).map(Bound::unbind)
            }
            RequestReply::NotReady { why } => Ok(why.into_pyobject(py)?.into_any().unbind()),
        }
    }

    /// What wakes who waits for a change of an instance tree, looking every `pause` seconds where the
    /// Master does not tell.
    fn changes(&self, py: Python<'_>, title: String, pause: f64) -> PyResult<Waiting> {
        let pause = seconds(pause)?;
        let changes = self.run(
            py,
            move |cloud| Ok(cloud.changes(Watch::Tree(title), pause)),
        )?;
        Ok(Waiting(Arc::new(Mutex::new(changes))))
    }

    /// A one-time token by which a compute node is enrolled.
    fn token(&self, py: Python<'_>) -> PyResult<String> {
        self.run(py, |cloud| cloud.documents()?.node_token())
    }

    /// The products of the Master and the best release of each; `None` where it lists none.
    fn catalogue(&self, py: Python<'_>) -> PyResult<Option<BTreeMap<String, String>>> {
        self.run(py, |cloud| match cloud.products() {
            Ok(products) => Ok(products.map(|products| {
                let best = |product: Product| {
                    let release = product.releases.into_iter().next()?;
                    Some((product.reference, release))
                };
                products.into_iter().filter_map(best).collect()
            })),
            // Another Master has its own way not to know the call.
            Err(error) if error.is_master_unreachable() => Err(error),
            Err(_) => Ok(None),
        })
    }

    /// My instance trees: title and release.
    fn instance_trees(&self, py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        self.run(py, |cloud| {
            let trees = cloud.documents()?.instance_trees()?;
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
        let (fields, tree) = self.run(py, move |cloud| {
            let fields = match cloud.documents()?.instance_tree_fields(&title) {
                // Which one may have been meant?
                Err(Error::NotFound { .. }) => {
                    return Err(cloud.service(&title).err().unwrap_or_else(gone));
                }
                found => found?,
            };
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
        self.run(py, |cloud| {
            let nodes = cloud.documents()?.nodes()?;
            Ok(nodes
                .into_iter()
                .map(|node| (node.reference, node.title))
                .collect())
        })
    }

    /// One compute node: reference and title.
    fn node(&self, py: Python<'_>, reference: &str) -> PyResult<(String, String)> {
        let reference: NodeId = parsed(reference)?;
        self.run(py, move |cloud| {
            let node = cloud.node(&reference)?;
            Ok((node.reference, node.title))
        })
    }
}

impl Connection {
    /// Does this with the Master, which is made at the first call: nothing is read before it is
    /// needed, and what was wrong then may have been put right since.
    fn run<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Cloud) -> Result<T, Error> + Send + 'static,
    ) -> PyResult<T> {
        let (profile, kept) = (Arc::clone(&self.profile), Arc::clone(&self.cloud));
        let cloud = move || -> Result<Cloud, Error> {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(cloud) = &*kept {
                return Ok(cloud.clone());
            }
            let cloud = Cloud::open(&profile)?;
            *kept = Some(cloud.clone());
            Ok(cloud)
        };
        outside(py, move || cloud().and_then(|cloud| work(&cloud)))?
            .map_err(|error| raise(py, &error))
    }
}

/// Wakes who waits for changes of an instance tree.
#[pyclass(frozen, module = "slapos.slap._native")]
pub(crate) struct Waiting(Arc<Mutex<Changes>>);

#[pymethods]
impl Waiting {
    /// Returns when something may have changed, and after so many seconds in any case.
    fn wait(&self, py: Python<'_>, most: f64) -> PyResult<()> {
        let (most, changes) = (seconds(most)?, Arc::clone(&self.0));
        outside(py, move || {
            changes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .wait(most);
        })
    }
}

fn seconds(number: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(number.min(TIMEOUT_MAX))
        .map_err(|_| PyValueError::new_err(format!("a time of {number} seconds makes no sense")))
}

/// What was not there a moment ago, and is now.
fn gone() -> Error {
    Error::NotFound {
        what: "the instance has just changed".to_owned(),
        detail: "ask again".to_owned(),
    }
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
