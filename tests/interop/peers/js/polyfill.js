// js-libp2p uses Promise.withResolvers, which Node 20 lacks; must be imported before it.
Promise.withResolvers ??= function () {
  let resolve
  let reject
  const promise = new Promise((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
