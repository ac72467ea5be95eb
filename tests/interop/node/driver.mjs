// ts-mls behind JSON lines: one request a line on stdin, one answer a line on stdout.
//
// A request is {"op": name, "member": number, ...}; an answer is {"ok": {...}} or {"error": text}.
// Bytes travel in base64. Members live in this process and are named by numbers; a member takes its
// own commits and proposals into effect at once, as if a delivery service had accepted them.
import { createInterface } from "node:readline"

import {
  acceptAll,
  createApplicationMessage,
  createCommit,
  createGroup,
  createProposal,
  decodeMlsMessage,
  defaultCapabilities,
  defaultKeyPackageEqualityConfig,
  defaultKeyRetentionConfig,
  defaultPaddingConfig,
  defaultAuthenticationService,
  encodeMlsMessage,
  generateKeyPackageWithKey,
  getCiphersuiteFromName,
  joinGroupExternal,
  joinGroupFromBranch,
  joinGroupFromReinit,
  joinGroupWithExtensions,
  branchGroup,
  makePskIndex,
  mlsExporter,
  nobleCryptoProvider,
  processMessage,
  proposeAddExternal,
  reinitCreateNewGroup,
  ciphersuites,
} from "ts-mls"
import { createGroupInfo } from "ts-mls/createCommit.js"
import { decodeRatchetTree, encodeRatchetTree } from "ts-mls/ratchetTree.js"
import { p256, p384, p521 } from "@noble/curves/nist.js"

const bytes = (text) => new Uint8Array(Buffer.from(text ?? "", "base64"))
const text = (data) => Buffer.from(data).toString("base64")
const nameOf = (code) => Object.keys(ciphersuites).find((name) => ciphersuites[name] === code)
const implementation = (code) => nobleCryptoProvider.getCiphersuiteImpl(getCiphersuiteFromName(nameOf(code)))
const message = (wireformat, content) => text(encodeMlsMessage({ version: "mls10", wireformat, ...content }))
const tree = (state) => text(encodeRatchetTree(state.ratchetTree))

// ts-mls makes ECDSA public keys as compressed points; RFC 9420 section 5.1.1 has them uncompressed.
const CURVES = { 2: p256, 5: p521, 7: p384 }

async function signatureKeys(code, suite, compressed) {
  const made = await suite.signature.keygen()
  if (compressed || CURVES[code] === undefined) return made
  return { ...made, publicKey: CURVES[code].getPublicKey(made.signKey, false) }
}

const config = {
  keyRetentionConfig: defaultKeyRetentionConfig,
  keyPackageEqualityConfig: defaultKeyPackageEqualityConfig,
  paddingConfig: defaultPaddingConfig,
  authService: defaultAuthenticationService,
  lifetimeConfig: { maximumTotalLifetime: 90n * 86400n, validateLifetimeOnReceive: true },
}

const members = []

function decodedMessage(encoded, wireformat) {
  const data = bytes(encoded)
  const decoded = decodeMlsMessage(data, 0)
  if (decoded === undefined) throw new Error("the message can't be decoded")
  if (decoded[1] !== data.length) throw new Error("bytes follow the message")
  if (wireformat !== undefined && decoded[0].wireformat !== wireformat)
    throw new Error(`expected ${wireformat}, not ${decoded[0].wireformat}`)
  return decoded[0]
}

function decodedTree(encoded) {
  return encoded === null || encoded === undefined ? undefined : decodeRatchetTree(bytes(encoded), 0)[0]
}

// ts-mls names the extension types that the RFC defines, and numbers the others.
const EXTENSIONS = { 1: "application_id", 3: "required_capabilities", 5: "external_senders" }

function extensionsOf(listed) {
  return (listed ?? []).map(({ type, data }) => ({
    extensionType: EXTENSIONS[type] ?? type,
    extensionData: bytes(data),
  }))
}

// RFC 9420 section 12.4.3.2 has the key with its length before it; ts-mls itself leaves the length out.
function externalPub(key) {
  const length = key.length < 64 ? [key.length] : [0x40 | (key.length >> 8), key.length & 0xff]
  return { extensionType: "external_pub", extensionData: new Uint8Array([...length, ...key]) }
}

async function freshKeyPackage(member, suite, extensions) {
  const now = Math.floor(Date.now() / 1000)
  const made = await generateKeyPackageWithKey(
    { credentialType: "basic", identity: member.identity },
    { ...defaultCapabilities(), extensions: [...defaultCapabilities().extensions, ...member.extensions] },
    { notBefore: BigInt(now - 3600), notAfter: BigInt(now + 30 * 86400) },
    extensions ?? [],
    member.signing,
    suite ?? member.suite,
  )
  member.packages.push(made)
  return made
}

function leafOf(member, identity) {
  const index = member.state.ratchetTree.findIndex(
    (node) => node?.nodeType === "leaf" && text(node.leaf.credential.identity) === identity,
  )
  if (index < 0) throw new Error("no such member")
  return index / 2
}

function proposalOf(member, wanted) {
  switch (wanted.kind) {
    case "add":
      return {
        proposalType: "add",
        add: { keyPackage: decodedMessage(wanted.key_package, "mls_key_package").keyPackage },
      }
    case "remove":
      return { proposalType: "remove", remove: { removed: leafOf(member, wanted.identity) } }
    case "extensions":
      return {
        proposalType: "group_context_extensions",
        groupContextExtensions: { extensions: extensionsOf(wanted.extensions) },
      }
    case "psk":
      return {
        proposalType: "psk",
        psk: {
          preSharedKeyId: {
            psktype: "external",
            pskId: bytes(wanted.psk_id),
            pskNonce: member.suite.rng.randomBytes(member.suite.kdf.size),
          },
        },
      }
    case "reinit":
      return {
        proposalType: "reinit",
        reinit: {
          groupId: bytes(wanted.group_id),
          version: "mls10",
          cipherSuite: nameOf(wanted.suite),
          extensions: [],
        },
      }
    default:
      throw new Error(`unknown proposal ${wanted.kind}`)
  }
}

const psks = (member) => makePskIndex(member.state, member.psks)

// The key package that a Welcome was made for is found by trying each of them.
async function joined(member, join) {
  const failures = []
  for (const made of member.packages) {
    try {
      return await join(made)
    } catch (error) {
      failures.push(error.message)
    }
  }
  throw new Error(`no key package fits: ${failures.join("; ")}`)
}

function committed(member, result) {
  member.state = result.newState
  return {
    commit: text(encodeMlsMessage(result.commit)),
    welcome: result.welcome && message("mls_welcome", { welcome: result.welcome }),
    tree: tree(member.state),
  }
}

const operations = {
  async member({ suite, identity, extensions, compressed_key }) {
    const chosen = await implementation(suite)
    const signing = await signatureKeys(suite, chosen, compressed_key ?? false)
    members.push({
      suite: chosen,
      identity: bytes(identity),
      extensions: extensions ?? [],
      signing,
      packages: [],
      psks: {},
      state: undefined,
    })
    return { member: members.length - 1, signature_key: text(signing.publicKey) }
  },

  async key_package(member, { suite }) {
    const made = await freshKeyPackage(member, suite === undefined ? undefined : await implementation(suite))
    return { key_package: message("mls_key_package", { keyPackage: made.publicPackage }) }
  },

  async create(member, { group_id, extensions }) {
    const made = await freshKeyPackage(member)
    member.state = await createGroup(
      bytes(group_id),
      made.publicPackage,
      made.privatePackage,
      extensionsOf(extensions),
      member.suite,
      config,
    )
    return {}
  },

  async join(member, { welcome, tree: given }) {
    const content = decodedMessage(welcome, "mls_welcome").welcome
    const [state, extensions] = await joined(member, (made) =>
      joinGroupWithExtensions(
        content,
        made.publicPackage,
        made.privatePackage,
        makePskIndex(undefined, member.psks),
        member.suite,
        decodedTree(given),
        undefined,
        config,
      ),
    )
    member.state = state
    return {
      extensions: extensions
        .filter(({ extensionType }) => typeof extensionType === "number")
        .map(({ extensionType, extensionData }) => ({ type: extensionType, data: text(extensionData) })),
    }
  },

  async commit(member, { proposals, wire, tree_in_welcome, authenticated_data }) {
    return committed(
      member,
      await createCommit(
        { state: member.state, cipherSuite: member.suite, pskIndex: psks(member) },
        {
          wireAsPublicMessage: wire !== "private",
          extraProposals: (proposals ?? []).map((wanted) => proposalOf(member, wanted)),
          ratchetTreeExtension: tree_in_welcome ?? false,
          authenticatedData: bytes(authenticated_data),
        },
      ),
    )
  },

  async propose(member, { proposal, wire, authenticated_data }) {
    const made = await createProposal(
      member.state,
      wire !== "private",
      proposalOf(member, proposal),
      member.suite,
      bytes(authenticated_data),
    )
    member.state = made.newState
    return { message: text(encodeMlsMessage(made.message)) }
  },

  async receive(member, { message: encoded }) {
    const incoming = decodedMessage(encoded)
    const result = await processMessage(incoming, member.state, psks(member), acceptAll, member.suite)
    member.state = result.newState
    if (result.kind !== "applicationMessage") return { active: member.state.groupActiveState.kind }
    return {
      plaintext: text(result.message),
      authenticated_data: text(incoming.privateMessage.authenticatedData),
    }
  },

  async encrypt(member, { plaintext, authenticated_data }) {
    const made = await createApplicationMessage(
      member.state,
      bytes(plaintext),
      member.suite,
      bytes(authenticated_data),
    )
    member.state = made.newState
    return { message: message("mls_private_message", { privateMessage: made.privateMessage }) }
  },

  async export(member, { label, context, length }) {
    const { exporterSecret } = member.state.keySchedule
    return { secret: text(await mlsExporter(exporterSecret, label, bytes(context), length, member.suite)) }
  },

  async state(member) {
    const { groupContext, keySchedule, groupActiveState, privatePath } = member.state
    return {
      epoch: Number(groupContext.epoch),
      authenticator: text(keySchedule.epochAuthenticator),
      active: groupActiveState.kind,
      tree_hash: text(groupContext.treeHash),
      leaf: privatePath.leafIndex,
    }
  },

  async psk(member, { psk_id, secret }) {
    member.psks[psk_id] = bytes(secret)
    return {}
  },

  async group_info(member, { with_tree }) {
    const { suite, state } = member
    const key = await suite.hpke.deriveKeyPair(state.keySchedule.externalSecret)
    const extensions = [externalPub(await suite.hpke.exportPublicKey(key.publicKey))]
    if (with_tree)
      extensions.push({ extensionType: "ratchet_tree", extensionData: encodeRatchetTree(state.ratchetTree) })
    const made = await createGroupInfo(state.groupContext, state.confirmationTag, state, extensions, suite)
    return { group_info: message("mls_group_info", { groupInfo: made }), tree: tree(state) }
  },

  async join_externally(member, { group_info, tree: given, resync, authenticated_data }) {
    const made = await freshKeyPackage(member)
    const result = await joinGroupExternal(
      decodedMessage(group_info, "mls_group_info").groupInfo,
      made.publicPackage,
      made.privatePackage,
      resync ?? false,
      member.suite,
      decodedTree(given),
      config,
      bytes(authenticated_data),
    )
    member.state = result.newState
    return {
      commit: message("mls_public_message", { publicMessage: result.publicMessage }),
      tree: tree(member.state),
    }
  },

  // --- from outside the group -------------------------------------------------------------------

  async propose_own_add(member, { group_info }) {
    const made = await freshKeyPackage(member)
    const proposal = await proposeAddExternal(
      decodedMessage(group_info, "mls_group_info").groupInfo,
      made.publicPackage,
      made.privatePackage,
      member.suite,
    )
    return { message: text(encodeMlsMessage(proposal)) }
  },

  // --- groups that follow from this one -----------------------------------------------------------

  async branch(member, { group_id, key_packages }) {
    const made = await freshKeyPackage(member)
    const packages = key_packages.map((encoded) => decodedMessage(encoded, "mls_key_package").keyPackage)
    return committed(
      member,
      await branchGroup(
        member.state,
        made.publicPackage,
        made.privatePackage,
        packages,
        bytes(group_id),
        member.suite,
      ),
    )
  },

  async join_branch(member, { welcome, tree: given }) {
    const content = decodedMessage(welcome, "mls_welcome").welcome
    const parent = member.state
    member.state = await joined(member, (made) =>
      joinGroupFromBranch(
        parent,
        content,
        made.publicPackage,
        made.privatePackage,
        decodedTree(given),
        member.suite,
      ),
    )
    return {}
  },

  async recreate(member, { group_id, suite, key_packages }) {
    const chosen = await implementation(suite)
    const made = await freshKeyPackage(member, chosen)
    const packages = key_packages.map((encoded) => decodedMessage(encoded, "mls_key_package").keyPackage)
    const result = await reinitCreateNewGroup(
      member.state,
      made.publicPackage,
      made.privatePackage,
      packages,
      bytes(group_id),
      nameOf(suite),
      [],
      nobleCryptoProvider,
    )
    member.suite = chosen
    return committed(member, result)
  },

  async join_recreated(member, { welcome, tree: given, suite }) {
    const content = decodedMessage(welcome, "mls_welcome").welcome
    const ended = member.state
    member.state = await joined(member, (made) =>
      joinGroupFromReinit(
        ended,
        content,
        made.publicPackage,
        made.privatePackage,
        decodedTree(given),
        nobleCryptoProvider,
      ),
    )
    member.suite = await implementation(suite)
    return {}
  },
}

async function answer(line) {
  const { op, member, ...rest } = JSON.parse(line)
  try {
    const operation = operations[op]
    if (operation === undefined) throw new Error(`unknown operation ${op}`)
    return { ok: op === "member" ? await operation(rest) : await operation(members[member], rest) }
  } catch (error) {
    return { error: `${error.name}: ${error.message}` }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`)
}
