import { Observable, Subscriber, type Observer, type Operator, type Subscription, type TeardownLogic } from 'rxjs';
import { callListener } from './listener-errors.js';

/**
 * An Observable that logs the errors of its subscribers, also of those behind operators. RxJS would throw such an error
 * on a timer, and Node would end the process.
 */
export class GuardedObservable<T> extends Observable<T> {
  constructor(
    /** For the log. */
    private readonly what: string,
    subscribe?: (this: Observable<T>, subscriber: Subscriber<T>) => TeardownLogic,
  ) {
    super(subscribe);
  }

  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    const lifted = new GuardedObservable<R>(this.what);
    lifted.source = this;
    lifted.operator = operator;
    return lifted;
  }

  override subscribe(
    given?: Partial<Observer<T>> | ((value: T) => void) | null,
    error?: ((error: unknown) => void) | null,
    complete?: (() => void) | null,
  ): Subscription {
    // A subscriber that an operator made.
    if (given instanceof Subscriber) return super.subscribe(given);
    const observer: Partial<Observer<T>> = typeof given === 'object' && given !== null ? given : {};
    const next = typeof given === 'function' ? given : observer.next?.bind(observer);
    const failed = error ?? observer.error?.bind(observer);
    const completed = complete ?? observer.complete?.bind(observer);
    const what = `A subscriber of ${this.what}`;
    return super.subscribe({
      next: (value) => callListener(what, () => next?.(value)),
      error: (thrown: unknown) =>
        callListener(what, () => {
          if (failed === undefined) throw thrown;
          return failed(thrown);
        }),
      complete: () => callListener(what, () => completed?.()),
    });
  }
}
