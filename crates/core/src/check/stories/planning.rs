//! Stories of the findings 2xx: planning.
//!
//! One for each code, in order. What is found is declared beside this folder; here is what people are told of it.

use super::{Inputs, Story};

pub(super) const STORIES: &[Story] = &[
    Story {
        code: "WL201",
        title: "Members without a public key",
        inputs: Inputs::NetworkFile,
        means: "The file has no key for them, and none was made yet.",
        hurts: "Their peers can't be told who they are, so no files can be written for those.",
        example: "[nodes.a]   # no public_key",
        mend: "Run `wayleave key make`, or add the host's public key.",
        elsewhere: "",
        seen: "",
    },
    Story {
        code: "WL202",
        title: "A range is full",
        inputs: Inputs::NetworkFile,
        means: "There are more members than free addresses in the range.",
        hurts: "Somebody would go without an address.",
        example: "prefixes = [\"10.50.0.0/29\"]   # and nine nodes",
        mend: "Widen the range, or free addresses of members that are gone from the lock file.",
        elsewhere: "",
        seen: "",
    },
    Story {
        code: "WL203",
        title: "A pair without a path",
        inputs: Inputs::NetworkFile,
        means: "Two nodes are not linked, and no hub relays between them. For imported hosts it is WL505.",
        hurts: "They can't reach each other, though the file says they are one network.",
        example: "[[links]]\nfrom = [\"hub\"]\nto = [\"*\"]   # and hub is no hub = true",
        mend: "Link them, or set hub = true on a node that both are linked with.",
        elsewhere: "",
        seen: "edgeProxy, whose nodes in Asia could not reach each other; masterpointio/terraform-aws-tailscale#104",
    },
    Story {
        code: "WL204",
        title: "Hubs isolated from each other without a firewall",
        inputs: Inputs::NetworkFile,
        means: "Two hubs are to be kept apart, and neither has a firewall.",
        hurts: "Both relay for others, so each must accept addresses of the other's side. Only a firewall can tell what is for itself.",
        example: "[nodes.hub]\nhub = true\nfirewall = \"none\"\n\n[nodes.a]\nhub = true\nfirewall = \"none\"\n\n[[isolate]]\nbetween = [[\"hub\"], [\"a\"]]",
        mend: "Leave the key `firewall` out on one of them, which then gets one.",
        elsewhere: "",
        seen: "",
    },
    Story {
        code: "WL205",
        title: "Two nodes with one router id",
        inputs: Inputs::NetworkFile,
        means: "Two nodes that speak BGP have the same router id: as written, or as it follows from an address or a name.",
        hurts: "A router takes no session with one that has its own id, and reflected routes of the other are taken for its own.",
        example: "[nodes.a]\nbgp = true\nrouter_id = \"10.50.0.1\"\n\n[nodes.b]\nbgp = true\nrouter_id = \"10.50.0.1\"",
        mend: "Give one of them another router_id; its own IPv4 address is a good one.",
        elsewhere: "",
        seen: "",
    },
];
