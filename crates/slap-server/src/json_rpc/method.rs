//! The calls as data: their names, what they accept, what they answer (P 3.1).

use serde_json::Value;

use super::detail;
use super::schema::{self, Input, InputMistake, Kind, Member, Output, may, need};

macro_rules! methods {
    ($($variant:ident $name:literal $summary:literal [$($member:expr),*] => $output:expr;)*) => {
        /// A JSON call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`: ", $summary, ".")] $variant,)*
        }

        impl Method {
            /// All calls: upstream's in the order of their names, then ours, then the experimental
            /// one.
            pub const ALL: &'static [Method] = &[$(Method::$variant),*];

            /// The call of this name.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Method::$variant),)*
                    _ => None,
                }
            }

            /// Its name: the last segment of its path.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Method::$variant => $name,)*
                }
            }

            /// What it is for, in a few words.
            pub fn summary(self) -> &'static str {
                match self {
                    $(Method::$variant => $summary,)*
                }
            }

            /// What it accepts: these members and no others.
            pub fn input(self) -> &'static [Member] {
                match self {
                    $(Method::$variant => const { &[$($member),*] },)*
                }
            }

            /// What it answers.
            pub fn output(self) -> Output {
                match self {
                    $(Method::$variant => const { $output },)*
                }
            }
        }
    };
}

const INSTANCE_STATES: &[&str] = &["started", "stopped", "destroyed"];
const INSTALLATION_STATES: &[&str] = &["available", "destroyed"];

const NODE: Member = need("computer_guid", Kind::Text);
const INSTANCE: Member = need("instance_guid", Kind::Text);
const TITLE: Member = need("title", Kind::Title);
const RELEASE: Member = need("software_release_uri", Kind::Text);
const MESSAGE: Member = need("message", Kind::Text);
/// A tree is named by its reference, or by its title as its owner knows it.
const SOME_TREE: Member = may("tree_guid", Kind::Text);
const SOME_TITLE: Member = may("title", Kind::Text);
/// Events older than this one.
const BEFORE: Member = may("before", Kind::Integer);
/// Events younger than this one.
const AFTER: Member = may("after", Kind::Integer);
const LIMIT: Member = may("limit", Kind::Integer);

/// An address of a partition.
const ADDRESS: &[Member] = &[
    need("ip-address", Kind::Text),
    may("network-interface", Kind::Text),
    may("netmask", Kind::Text),
    may("gateway-ip-address", Kind::Text),
    may("network-address", Kind::Text),
];

/// A partition of a node that describes itself.
const PARTITION: &[Member] = &[
    need("partition_id", Kind::Text),
    may("ip_list", Kind::List(ADDRESS)),
];

methods! {
    NodeInstances "slapos.allDocs.v0.compute_node_instance_list"
        "List the instances on a compute node"
        [NODE] => Output::List(&[
            need("title", Kind::Text), INSTANCE, need("state", Kind::Word(INSTANCE_STATES)),
            may("compute_partition_id", Kind::Text), may("software_release_uri", Kind::Text)]);
    NodeInstallations "slapos.allDocs.v0.compute_node_software_installation_list"
        "List the software installations of a compute node"
        [NODE] => Output::List(&[RELEASE, need("state", Kind::Word(INSTALLATION_STATES))]);
    SharedInstances "slapos.allDocs.v0.instance_node_instance_list"
        "List the shared instances that an instance serves"
        [INSTANCE] => Output::List(&[
            need("title", Kind::Text), INSTANCE, need("software_type", Kind::Text),
            need("state", Kind::Word(INSTANCE_STATES)), need("parameters", Kind::Object),
            may("software_release_uri", Kind::Text), may("compute_partition_id", Kind::Text)]);
    Trees "slapos.allDocs.v0.instance_tree_list"
        "List my instance trees"
        [] => Output::List(&[need("title", Kind::Text)]);
    NodeStatus "slapos.get.v0.compute_node_status"
        "Tell what was last heard of a compute node"
        [NODE] => Output::Open(&[need("text", Kind::Text)]);
    Partition "slapos.get.v0.compute_partition"
        "Show the instance on a partition"
        [NODE, need("compute_partition_id", Kind::Text)] => Output::Instance;
    Hateoas "slapos.get.v0.hateoas_url"
        "Tell where the hypermedia documents begin"
        [] => Output::Document(&[
            need("hateoas_url", Kind::Text), may("keeps_omitted", Kind::Bool)]);
    Tree "slapos.get.v0.instance_tree"
        "Show the root instance of one of my instance trees"
        [TITLE] => Output::InstanceOrNotReady;
    Instance "slapos.get.v0.software_instance"
        "Show an instance"
        [INSTANCE] => Output::Instance;
    InstanceCertificate "slapos.get.v0.software_instance_certificate"
        "Give the certificate of an instance, with its key"
        [INSTANCE] => Output::Certificate;
    NodeCertificate "slapos.post.v0.compute_node_certificate"
        "Make a certificate for a compute node"
        [NODE] => Output::Certificate;
    NodeUsage "slapos.post.v0.compute_node_usage"
        "Report what was consumed on a compute node"
        [NODE, need("tioxml", Kind::Text)] => Output::Success;
    Supply "slapos.post.v0.software_installation"
        "Ask for a software release on a compute node, or for its removal"
        [NODE, RELEASE, may("state", Kind::Word(INSTALLATION_STATES)).or_text("available")]
        => Output::Success;
    Request "slapos.post.v0.software_instance"
        "Request an instance"
        [TITLE, RELEASE, need("software_type", Kind::Text), may("parameters", Kind::Object),
         may("state", Kind::Word(INSTANCE_STATES)).or_text("started"),
         may("shared", Kind::Bool).or_bool(false), may("sla_parameters", Kind::Sla)]
        => Output::InstanceOrNotReady;
    NodeBang "slapos.put.v0.compute_node_bang"
        "Have everything on a compute node processed again"
        [NODE, MESSAGE] => Output::Success;
    Format "slapos.put.v0.compute_node_format"
        "Describe the partitions of a compute node"
        [NODE, need("compute_partition_list", Kind::List(PARTITION))] => Output::Success;
    InstallationError "slapos.put.v0.software_installation_error"
        "Report that a software release could not be installed"
        [NODE, RELEASE, MESSAGE] => Output::Success;
    InstallationReport "slapos.put.v0.software_installation_reported_state"
        "Report the state of a software installation"
        [NODE, RELEASE,
         need("reported_state", Kind::Word(&["available", "destroyed", "building"]))]
        => Output::Success;
    InstanceBang "slapos.put.v0.software_instance_bang"
        "Have an instance, and those above it, processed again"
        [INSTANCE, MESSAGE] => Output::Success;
    Publish "slapos.put.v0.software_instance_connection_parameter"
        "Publish the connection parameters of an instance"
        [INSTANCE, need("connection_parameter_dict", Kind::Object)] => Output::Success;
    InstanceError "slapos.put.v0.software_instance_error"
        "Report that an instance could not be processed"
        [INSTANCE, MESSAGE] => Output::Success;
    InstanceReport "slapos.put.v0.software_instance_reported_state"
        "Report the state of an instance"
        [INSTANCE, need("reported_state", Kind::Word(&["started", "destroyed", "stopped"]))]
        => Output::Success;
    Rename "slapos.put.v0.software_instance_title"
        "Give an instance another title"
        [INSTANCE, TITLE] => Output::Success;
    RemoveNodeCertificate "slapos.remove.v0.compute_node_certificate"
        "Revoke the certificate of a compute node"
        [NODE] => Output::Success;
    Products "slapos.allDocs.v0.software_product_list"
        "List the software products I may use, and the releases of each, the best first"
        [] => Output::List(&[
            need("product_reference", Kind::Text), need("title", Kind::Text),
            may("project_guid", Kind::Text), need("software_release_uri_list", Kind::Texts)]);
    TreeDetails "slapos.allDocs.v0.instance_tree_detail_list"
        "List my instance trees with what they are to be, how they are, and why they wait"
        [SOME_TITLE, may("offset", Kind::Integer), LIMIT] => Output::List(detail::TREE_ROW);
    TreeEvents "slapos.allDocs.v0.instance_tree_event_list"
        "List what happened to an instance tree, the latest first"
        [SOME_TREE, SOME_TITLE, BEFORE, AFTER, LIMIT] => Output::List(detail::EVENT);
    NodeDetails "slapos.allDocs.v0.compute_node_detail_list"
        "List the compute nodes I may see, with their state and free partitions"
        [] => Output::List(detail::NODE_ROW);
    NodeEvents "slapos.allDocs.v0.compute_node_event_list"
        "List what happened to a compute node, the latest first"
        [NODE, BEFORE, AFTER, LIMIT] => Output::List(detail::EVENT);
    ReleaseNodes "slapos.allDocs.v0.software_release_node_list"
        "List the compute nodes on which a software release was asked for, and what became of it"
        [RELEASE] => Output::List(detail::WHERE_INSTALLED);
    NodeDetail "slapos.get.v0.compute_node_detail"
        "Show a compute node with its partitions and releases"
        [NODE] => Output::Document(detail::NODE);
    TreeDetail "slapos.get.v0.instance_tree_detail"
        "Show an instance tree with all its instances"
        [SOME_TREE, SOME_TITLE] => Output::Document(detail::TREE);
    TreePromises "slapos.allDocs.v0.instance_tree_promise_list"
        "List the promises of an instance tree: those that fail, and those that do not"
        [SOME_TREE, SOME_TITLE] => Output::List(detail::PROMISE);
    Promises "slapos.put.v0.software_instance_promise_list"
        "Tell how the promises of the instance on a partition are"
        [NODE, need("compute_partition_id", Kind::Text),
         need("promise_list", Kind::List(detail::PROMISE_TOLD))] => Output::Success;
    TreeUpgrade "slapos.put.v0.instance_tree_upgrade"
        "Answer the upgrade an instance tree is offered, or say whether it is asked for"
        [SOME_TREE, SOME_TITLE, may("answer", Kind::Word(&["accept", "reject"])),
         may("policy", Kind::Word(&["ask", "auto"]))] => Output::Success;
    Nodes "slapos.allDocs.WIP.compute_node_list"
        "List the compute nodes (experimental)"
        [] => Output::List(&[NODE]);
}

impl Method {
    /// Whether it is no part of the description yet (P 3.1: the proxy's addition).
    pub fn is_experimental(self) -> bool {
        self == Method::Nodes
    }

    /// Whether upstream does not have it: clients ask other Masters in other ways.
    pub fn is_ours(self) -> bool {
        matches!(
            self,
            Method::Products
                | Method::TreeDetails
                | Method::TreeEvents
                | Method::NodeDetails
                | Method::NodeEvents
                | Method::ReleaseNodes
                | Method::NodeDetail
                | Method::TreeDetail
                | Method::TreeUpgrade
                | Method::TreePromises
                | Method::Promises
        )
    }

    /// Reads a body, and checks it.
    ///
    /// # Errors
    /// [`InputMistake`] says what is wrong with it.
    pub fn read(self, body: &[u8]) -> Result<Input, InputMistake> {
        let input: Value = serde_json::from_slice(body)
            .map_err(|error| InputMistake::NotJson(error.to_string()))?;
        schema::check(&input, self.input())?;
        Ok(Input(input))
    }

    /// Whether an answer is what this call answers; for tests, and for Masters that check
    /// themselves.
    ///
    /// # Errors
    /// What is wrong with it, in the words of Python's validator.
    pub fn check_answer(self, answer: &Value) -> Result<(), String> {
        self.output().check(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_calls_of_the_description_and_the_experimental_one() {
        let described: Vec<&str> = Method::ALL
            .iter()
            .filter(|method| !method.is_experimental() && !method.is_ours())
            .map(|method| method.name())
            .collect();
        assert_eq!(described.len(), 24);
        assert!(described.is_sorted());
        for method in Method::ALL {
            assert_eq!(Method::named(method.name()), Some(*method));
        }
        assert_eq!(Method::named("slapos.get.v0.nope"), None);
    }

    #[test]
    fn bodies_are_read_or_refused() {
        let read = |body: &str| Method::Tree.read(body.as_bytes()).map(|input| input.0);
        assert_eq!(read("{\"title\": \"x\"}"), Ok(json!({"title": "x"})));
        assert_eq!(
            read("{}"),
            Err(InputMistake::Invalid(
                "'title' is a required property".to_owned()
            ))
        );
        assert_eq!(
            read("[]"),
            Err(InputMistake::NotAnObject(
                "[] is not of type 'object'".to_owned()
            ))
        );
        assert!(matches!(read("{"), Err(InputMistake::NotJson(_))));
        let deep = format!("{{\"title\": {}", "[".repeat(100_000));
        assert!(matches!(read(&deep), Err(InputMistake::NotJson(_))));
    }
}
