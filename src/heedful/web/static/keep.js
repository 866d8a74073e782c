// What must survive a reload: small records in IndexedDB, by store and key.

const STORES = ["outbox", "drafts"];

const opened = new Promise((resolve, reject) => {
  const request = indexedDB.open("heedful", 1);
  request.onupgradeneeded = () => STORES.forEach((name) => request.result.createObjectStore(name));
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

async function within(store, mode, act) {
  const database = await opened;
  return new Promise((resolve, reject) => {
    // Strict: on the disk before it is called kept.
    const transaction = database.transaction(store, mode, { durability: "strict" });
    const request = act(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

export const put = (store, key, value) => within(store, "readwrite", (objects) => objects.put(value, key));
export const take = (store, key) => within(store, "readonly", (objects) => objects.get(key));
export const drop = (store, key) => within(store, "readwrite", (objects) => objects.delete(key));
export const all = (store) => within(store, "readonly", (objects) => objects.getAll());
