/** The process itself. */
export const processes = {
  workers: {
    type: "integer",
    default: 1,
    minimum: 1,
    maximum: 64,
    word: "auto",
    reloadable: false,
    doc: 'Processes that share the sockets and serve clients, so that the pooler can use several processors; `"auto"`: as many as there are processors. With 1 there is one process and nothing else. [operations.md](operations.md#several-workers) says what is shared among them. Only the program has it, not the library.',
  },
  peer_id: {
    type: "integer",
    default: 0,
    minimum: 0,
    maximum: 16_383,
    reloadable: true,
    doc: "The number of this process among several that clients reach under one address, each with another one. A cancel request that comes to the wrong one is handed on to the right one, which [peers.NAME] tells how to reach. 0: it has no peers. Connections that exist when it changes cannot be cancelled by way of peers any more.",
  },
  pidfile: {
    type: "text",
    default: "",
    path: "output",
    reloadable: false,
    doc: "File that the process id is written to at the start and that is removed at the end; the start is refused while the process named in it lives. Empty: none.",
  },
  user: {
    type: "text",
    default: "",
    reloadable: false,
    doc: "User of the operating system to become when started as root, after the files of the configuration were read and before anything is opened or written. Empty: stay who started it.",
  },
} as const;
