//! Ways out that refuse trains, in earnest: the kernel's answer to a message of several datagrams is an error, as from a network card
//! without checksums (EIO before Linux 6.11), a path of smaller MTU (EINVAL), or others. Everything arrives all the same.
//!
//! No interface here gives these errors any more, so a seccomp filter does: it holds each `sendmmsg` of the engine's thread, and the
//! test answers it: with the error if the first message is a train, else by letting only the messages before the next train go.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use wayleave_engine::{Offloads, Timing, Tun};

use crate::ends::Engine;
use crate::{needs_machine, pair, peer, ping, set_peer};

/// Whether a message asks to be cut.
fn is_train(message: &libc::mmsghdr) -> bool {
    let header = &message.msg_hdr;
    // SAFETY: the header and its control buffer belong to a thread of this process that waits for the answer to its call, so they
    // are alive and nobody writes to them.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = control.as_ref() {
            if (found.cmsg_level, found.cmsg_type) == (libc::SOL_UDP, libc::UDP_SEGMENT) {
                return true;
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    false
}

/// From here on, each `sendmmsg` of the calling thread, and of threads that it starts, waits for the answer given at the descriptor.
fn hold_sendmmsg() -> OwnedFd {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_sendmmsg as u32, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter outlive the call; the call gives a descriptor of our own.
    unsafe {
        let (operation, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
        let fd = libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program);
        assert!(fd >= 0, "seccomp: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as i32)
    }
}

/// Answers held calls until there is nobody left to ask; counts trains refused.
fn answer(listener: &OwnedFd, errno: i32, refused: &AtomicU32) {
    loop {
        let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which outlives the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 60_000) };
        if ready <= 0 || poll.revents & libc::POLLIN == 0 {
            return;
        }
        // SAFETY: both are plain old data, valid when zero, and of the sizes that the numbers of the calls say.
        let (mut call, mut reply): (libc::seccomp_notif, libc::seccomp_notif_resp) = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        if unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) } != 0 {
            continue;
        }
        let [fd, messages, count, flags, ..] = call.data.args;
        // SAFETY: the caller is a thread of this process and waits: its messages are alive and are not written to meanwhile.
        let held = unsafe { std::slice::from_raw_parts_mut(messages as *mut libc::mmsghdr, count as usize) };
        let singles = held.iter().take_while(|message| !is_train(message)).count();
        reply.id = call.id;
        if singles == 0 && count > 0 {
            refused.fetch_add(1, Ordering::Relaxed);
            reply.error = -errno;
        } else {
            // SAFETY: the caller's own arguments, but fewer messages.
            let sent = unsafe { libc::sendmmsg(fd as i32, held.as_mut_ptr(), singles as u32, flags as _) };
            match sent {
                0.. => reply.val = sent.into(),
                _ => reply.error = -std::io::Error::last_os_error().raw_os_error().unwrap(),
            }
        }
        // SAFETY: as above.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut reply) };
    }
}

#[test]
fn what_a_way_out_refuses_to_cut_is_sent_one_by_one() {
    needs_machine!();
    let bytes: Vec<u8> = (0..8u32 << 20).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect();
    // How often trains are tried again: never; every ten seconds; every ten seconds; each time, since these may pass.
    for (errno, tries) in
        [(libc::EIO, 1..=1), (libc::EINVAL, 1..=8), (libc::EMSGSIZE, 1..=8), (libc::EPERM, 2..=u32::MAX)]
    {
        let (left, right) = pair();
        let refused = AtomicU32::new(0);
        std::thread::scope(|scope| {
            // Answers come from a thread that the filter does not hold.
            let (send, receive) = std::sync::mpsc::channel();
            scope.spawn({
                let refused = &refused;
                move || answer(&receive.recv().unwrap(), errno, refused)
            });
            let a = Engine::start_on(
                &left,
                "10.77.0.1/24",
                |name| {
                    // What makes the interface runs on a thread of its own, from which the engine's then comes.
                    send.send(hold_sendmmsg()).unwrap();
                    Tun::create(name).unwrap()
                },
                Timing::default(),
                Offloads::ALL,
                None,
            );
            let b = Engine::start(&right, "10.77.0.2/24", Timing::default());
            set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32"]));
            set_peer(&a, peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32"]));
            ping(&left, "10.77.0.2", 3);
            crate::offload::check_tcp(&left, &right, "10.77.0.2", &bytes);
            crate::offload::check_tcp(&right, &left, "10.77.0.1", &bytes);
            let counters = a.device.describe().unwrap().counters;
            assert_eq!(counters.tx_socket_errors, 0, "errno {errno}: {counters:?}");
            let times = refused.load(Ordering::Relaxed);
            assert!(tries.contains(&times), "errno {errno}: refused {times} times");
            // With the filtered threads end the calls, and with them the answers.
            drop((a, b));
        });
    }
}
