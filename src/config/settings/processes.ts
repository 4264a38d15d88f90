/** The process itself. */
export const processes = {
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
